"""Chainlit: a chat that repeats what it is told."""

import chainlit


@chainlit.on_message
async def repeat(message):
    await chainlit.Message(content=message.content).send()
