"""Web page: plain ES modules and CSS, served without a build step."""
