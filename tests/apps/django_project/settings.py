"""Settings of the test project."""

SECRET_KEY = "for tests"
DEBUG = False
ALLOWED_HOSTS = ["*"]
ROOT_URLCONF = "django_project.urls"
MIDDLEWARE = ["django.middleware.common.CommonMiddleware", "django_project.middleware.HeaderMiddleware"]
DATABASES = {"default": {"ENGINE": "django.db.backends.sqlite3", "NAME": ":memory:"}}
DATA_UPLOAD_MAX_MEMORY_SIZE = None
USE_TZ = True
WSGI_APPLICATION = "django_project.wsgi.application"
ASGI_APPLICATION = "django_project.asgi.application"
