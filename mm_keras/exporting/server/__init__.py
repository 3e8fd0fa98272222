"""A small server of one bundle on 127.0.0.1, with the interfaces of TF Serving."""
