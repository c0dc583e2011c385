"""The REST face: Klein resources, a few lines a route."""
