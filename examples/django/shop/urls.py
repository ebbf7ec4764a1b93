from django.db import connection
from django.http import HttpResponse
from django.urls import path


def hello(request):
    with connection.cursor() as cursor:
        cursor.execute("SELECT sqlite_version()")
        return HttpResponse(f"hello from sqlite {cursor.fetchone()[0]}\n")


urlpatterns = [path("", hello)]
