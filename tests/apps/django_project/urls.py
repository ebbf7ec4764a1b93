"""The routes."""

from django.urls import path

from django_project import views

urlpatterns = [
    path("", views.hello),
    path("stream", views.stream),
    path("upload", views.upload),
    path("raise", views.raise_before),
    path("raise-mid", views.raise_mid),
    path("sleep", views.sleep),
    path("query", views.query),
    path("async", views.async_view),
]
