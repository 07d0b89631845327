"""A Django project in one file, with five calls a second for a tenant. In yours, this is `wsgi.py`.

Start it with `python django_app.py`, then `curl -i -H 'X-Tenant: acme' localhost:8000/report`.
"""

from wsgiref.simple_server import make_server

import django
from django.conf import settings
from django.core.wsgi import get_wsgi_application
from django.http import HttpRequest, JsonResponse
from django.urls import path

from tidegate import Gate, RateLimit
from tidegate.entrypoints.middleware import AdmissionMiddlewareWSGI, by_header


def report(_: HttpRequest) -> JsonResponse:
    return JsonResponse({"report": "all is well"})


urlpatterns = [path("report", report)]
settings.configure(ROOT_URLCONF=__name__, ALLOWED_HOSTS=["*"], SECRET_KEY="an example")
django.setup()

gate = Gate(limits=[RateLimit("requests", units=5, period_s=1, per=("tenant",))])
claim = by_header("X-Tenant", take={"requests": 1})
application = AdmissionMiddlewareWSGI(get_wsgi_application(), gate=gate, claim=claim)

if __name__ == "__main__":
    with make_server("127.0.0.1", 8000, application) as server:
        server.serve_forever()
