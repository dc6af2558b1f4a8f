"""An MCP server with one tool, as its users start it: ``tools TRANSPORT PORT``."""

import sys

from mcp.server.mcpserver import MCPServer

server = MCPServer("tools")


@server.tool()
def shout(text: str) -> str:
    return text.upper()


if __name__ == "__main__":
    server.run(transport=sys.argv[1], port=int(sys.argv[2]))
