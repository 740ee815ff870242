"""An OpenAI-compatible server for one model, with steering and readings by request: docs/serve.md.

1. `door` lets a request in: key, host, size; when the request ends, its generation ends.
2. `bodies` says what may be asked; `wanted` makes it plain: tokens, edits, directions to read.
3. `engine` runs the model in one thread, a token of each running request in turn; each run of the
   model has the edits of one request alone, so steers cannot mix.
4. `trail` keeps who applied what, in which dose, before it is applied.
5. `answers` and `problems` put it into OpenAI's words.
"""
