"""A transport that holds every answer it carries against the schema of its route."""

import httpx2

import openai_schema


class CheckedStream(httpx2.SyncByteStream):
    """Passes the bytes on. They are checked when they end, or when the client has read enough of
    them: after "[DONE]" it reads no further."""

    def __init__(self, inner, check):
        self.inner = inner
        self.check = check
        self.whole = b""
        self.left = True  # to be checked

    def __iter__(self):
        for piece in self.inner:
            self.whole += piece
            yield piece
        self.left = False
        self.check(self.whole)

    def close(self):
        self.inner.close()
        events = self.whole[:self.whole.rfind(b"\n\n") + 2]  # whole ones; of a JSON body none
        if self.left and events.endswith(b"\n\n"):
            self.left = False
            self.check(events)


class CheckedTransport(httpx2.BaseTransport):
    def __init__(self):
        self.inner = httpx2.HTTPTransport()
        self.checked = 0

    def handle_request(self, request):
        response = self.inner.handle_request(request)

        def check(whole):
            self.checked += openai_schema.check_answer(
                request.method, request.url.path, response.status_code,
                response.headers.get("content-type", ""), whole.decode())

        response.stream = CheckedStream(response.stream, check)
        return response

    def close(self):
        self.inner.close()
