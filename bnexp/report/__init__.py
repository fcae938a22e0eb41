"""What many runs say together, as one HTML file, as Markdown and as JSON."""
