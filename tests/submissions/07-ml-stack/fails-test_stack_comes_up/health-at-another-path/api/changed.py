"""The api works, but /health is called /healthz, and so does the health check."""

from main import app, health

app.router.routes = [route for route in app.router.routes if getattr(route, "path", "") != "/health"]
app.get("/healthz")(health)
