"""Where objects may lie: a folder, or a URL of a bucket. Here an implementation is chosen, by what is written."""

from __future__ import annotations

import os

from driftline.objects.directory import Directory
from driftline.objects.store import ObjectStore
from driftline.objects.urls import is_url


def store_at(place: str | os.PathLike[str]) -> ObjectStore:
    """The object store at `place`, a folder or a URL such as `s3://bucket/prefix`. Nothing is asked of it yet.

    Raises:
        InputError: the URL is none that Driftline knows, or obstore is not installed.
    """
    if isinstance(place, str) and is_url(place):
        from driftline.objects.cloud import Cloud  # the client of the clouds is an extra

        return Cloud(place)
    return Directory(place)
