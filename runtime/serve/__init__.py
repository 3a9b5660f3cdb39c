"""A server of live sessions on one port: a page, a WebSocket, a REST twin, figures."""
