"""NiceGUI: a page that opens a WebSocket by Socket.IO."""

import os

from nicegui import ui

ui.label("hello from nicegui")
ui.run(host="127.0.0.1", port=int(os.environ["PORT"]), reload=False, show=False)
