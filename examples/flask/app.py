from flask import Flask

app = Flask(__name__)


@app.get("/")
def hello():
    return "hello\n"


@app.get("/async")
async def async_hello():  # needs flask[async]
    return "hello from a coroutine\n"
