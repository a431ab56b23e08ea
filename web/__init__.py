"""The web page: plain ES modules and CSS, served as they are."""
