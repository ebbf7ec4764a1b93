"""A Django view with the middleware of `django-admin startproject`, but no database.

Sessions are kept in signed cookies, so that nothing is asked of one.
"""

from __future__ import annotations

import sys
from typing import Any

import django
from django.conf import settings
from django.core.asgi import get_asgi_application
from django.core.wsgi import get_wsgi_application
from django.http import HttpRequest, JsonResponse
from django.urls import path


def show(request: HttpRequest, item: int) -> JsonResponse:
    return JsonResponse({"item": item, "q": request.GET["q"]})


urlpatterns = [path("items/<int:item>", show)]

OPTIONS: dict[str, Any] = {
    "SECRET_KEY": "benchmarks need none",
    "DEBUG": False,
    "ALLOWED_HOSTS": ["*"],
    "ROOT_URLCONF": sys.modules[__name__],
    "SESSION_ENGINE": "django.contrib.sessions.backends.signed_cookies",
    "INSTALLED_APPS": [
        "django.contrib.auth",
        "django.contrib.contenttypes",
        "django.contrib.sessions",
        "django.contrib.messages",
    ],
    "MIDDLEWARE": [
        "django.middleware.security.SecurityMiddleware",
        "django.contrib.sessions.middleware.SessionMiddleware",
        "django.middleware.common.CommonMiddleware",
        "django.middleware.csrf.CsrfViewMiddleware",
        "django.contrib.auth.middleware.AuthenticationMiddleware",
        "django.contrib.messages.middleware.MessageMiddleware",
        "django.middleware.clickjacking.XFrameOptionsMiddleware",
    ],
    "LOGGING_CONFIG": None,
}
settings.configure(**OPTIONS)
django.setup()
wsgi = get_wsgi_application()
asgi = get_asgi_application()
