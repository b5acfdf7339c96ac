"""A transport that holds every answer it carries against the schema of its route."""

import httpx2

import openai_schema


class CheckedStream(httpx2.SyncByteStream):
    """Passes the bytes on; at their end they are checked. A stream left early is not."""

    def __init__(self, inner, at_end):
        self.inner = inner
        self.at_end = at_end

    def __iter__(self):
        whole = b""
        for piece in self.inner:
            whole += piece
            yield piece
        self.at_end(whole)

    def close(self):
        self.inner.close()


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
