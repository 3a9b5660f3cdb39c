"""Reports drawn: Markdown and pages, their charts and style."""
