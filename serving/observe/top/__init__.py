"""`keepword top`: a running desk's /metrics, read again and again, as one screen."""
