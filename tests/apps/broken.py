"""An application whose import fails, in a function of its own so that the traceback has frames to show."""

import os

print(f"broken imported by {os.getpid()}", flush=True)


def connect_to_database():
    raise RuntimeError("no database at tea-pot:5432")


database = connect_to_database()


async def app(scope, receive, send):
    pass
