"""Objects in S3 and what speaks like it, in Google Cloud Storage, and in Azure Blob Storage, through obstore."""

from __future__ import annotations

import logging
import os
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import timedelta
from hashlib import blake2b
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, TypeVar

from driftline.errors import Conflict, InputError, NotFound, Unavailable
from driftline.objects.aside import fork_safe
from driftline.objects.cloud_errors import CLOUD_ERRORS, ignores_conditions, misconfigured, said
from driftline.objects.credentials import ENDPOINTS, aws_config, endpoint_of
from driftline.objects.keys import checked, hidden
from driftline.objects.mirror import mirrored, path_of
from driftline.objects.store import Entry
from driftline.objects.urls import Place

try:
    from obstore.store import AzureStore, GCSStore, S3Store
except ImportError as why:
    raise InputError("s3://, gs:// and az:// need obstore, which is not here: pip install 'driftline[cloud]'") from why

if TYPE_CHECKING:
    from obstore import GetOptions, GetResult, ObjectMeta, PutMode
    from obstore.store import ClientConfig, RetryConfig

T = TypeVar("T")
_LOG: Final = logging.getLogger("driftline.objects")

PART: Final = 8 << 20
"""Bytes of one request: what is larger goes and comes in parts, each of which is tried again by itself."""
_PARTS_AT_ONCE: Final = 4
_PROBE: Final = ".driftline-probe"
_STAGED: Final = ".driftline-staged"
_NO_TAG: Final = "at "
_REQUEST: Final = timedelta(seconds=60)
_PATIENCE: Final = timedelta(seconds=20)
_QUICK: Final = timedelta(seconds=1)


class Cloud:
    """An object store in a bucket, or below a prefix of it.

    Credentials, region, endpoint and encryption are those of the environment, as the tools of each cloud read them.
    """

    def __init__(self, url: str, patience: timedelta = _PATIENCE) -> None:
        """The store at `url`; nothing is asked before the first call.

        Args:
            patience: so long a request is tried again, with ever longer pauses, while the store fails.
        """
        self.place = Place.of(url)
        self.patience = patience
        self._store = _client(self.place, patience)
        self._endpoint = endpoint_of(self.place, os.environ)
        self._enforces: bool | None = None
        self._asking = threading.Lock()

    def __repr__(self) -> str:
        return f"Cloud({self.place.url!r})"

    @fork_safe
    def put(self, key: str, data: bytes, *, if_absent: bool = False, durable: bool = True) -> None:
        """Write the object; every store here keeps what it has confirmed, so it is always `durable`."""
        self._put_any(key, data, len(data), if_absent)

    @fork_safe
    def put_file(self, key: str, path: Path, *, if_absent: bool = False, durable: bool = True) -> None:
        """Write what is in the file, as `put` does; a large one goes in parts, and is never in memory as a whole."""
        size = path.stat().st_size
        self._put_any(key, path if size > 2 * PART else path.read_bytes(), size, if_absent)

    def _put_any(self, key: str, data: bytes | Path, size: int, if_absent: bool) -> None:
        checked(key)
        if not if_absent:
            self._put(key, data, size)
        elif not self.enforces_conditions():
            # Between the look and the write another writer may come: of captured files, whose keys have a part made
            # by chance, there is none; of labels, one in the same microsecond (docs/objects.md).
            if self._is_there(key):
                raise self._conflict(key)
            self._put(key, data, size)
        elif size <= 2 * PART:
            self._create(key, data)
        else:
            self._create_large(key, data, size)

    @fork_safe
    def get(self, key: str) -> bytes:
        """The object. Raises NotFound."""
        return b"".join(self.chunks(key))

    def chunks(self, key: str, version: str | None = None) -> Iterator[bytes]:
        """The object in pieces of at most `PART` bytes.

        Raises:
            NotFound: it is not there.
            Unavailable: it is another `version` than was asked for, or becomes another one while it is read.
        """
        checked(key)
        first, meta = self._part(key, 0, version)
        yield first
        at, version = len(first), _version(meta)
        while at < meta["size"]:
            more, _ = self._part(key, at, version)
            at += len(more)
            yield more

    @fork_safe
    def read(self, key: str, start: int, length: int, version: str | None = None) -> bytes:
        """`length` bytes from `start` on, which are there."""
        options: GetOptions = {"range": (start, start + length), **_if_match(version)}
        data, meta = self._try("read", key, lambda: _whole(self._store.get(key, options=options)))
        self._check(key, meta, version)
        return data

    @fork_safe
    def entry(self, key: str) -> Entry:
        """What a listing says of the object. Raises NotFound."""
        checked(key)
        return _entry(self._try("read", key, lambda: self._store.head(key)))

    @fork_safe
    def list(self, prefix: str) -> Iterator[Entry]:
        """The objects whose key starts with `prefix`, in byte order of their keys, whatever order the store lists."""
        folder = prefix.rpartition("/")[0]
        if folder or prefix.startswith("/"):
            checked(folder)
        batches = self._try("list", prefix, lambda: list(self._store.list(folder or None, chunk_size=1000)))
        entries = (_entry(meta) for meta in chain.from_iterable(batches))
        found = [entry for entry in entries if entry.key.startswith(prefix) and not hidden(entry.key)]
        return iter(sorted(found, key=lambda entry: entry.key.encode()))

    @fork_safe
    def folders(self, prefix: str) -> Iterator[str]:
        """What lies right below `prefix` as a folder, in byte order."""
        folder = prefix.removesuffix("/")
        if folder:
            checked(folder)
        found = self._try("list", prefix, lambda: self._store.list_with_delimiter(folder or None))
        names = (path.rstrip("/").rpartition("/")[2] for path in found["common_prefixes"])
        return iter(sorted((name for name in names if not hidden(name)), key=str.encode))

    @fork_safe
    def delete(self, key: str) -> None:
        """Remove the object if it is there."""
        checked(key)
        try:
            self._try("delete", key, lambda: self._store.delete(key))
        except NotFound:
            return

    def location(self, key: str) -> str:
        """The URL of the object."""
        return self.place.below(checked(key))

    def endpoint(self) -> str:
        """The endpoint that was chosen, and the account of Azure: others have buckets of the same name."""
        return self._endpoint

    @fork_safe
    def fetch(self, entries: Sequence[Entry], mirror: Path) -> tuple[Path, ...]:
        """Copies of the objects as they were listed, below `mirror`; those that are there are not fetched again."""
        paths = tuple(path_of(self.location(entry.key), mirror) for entry in entries)
        mirrored(list(zip(entries, paths, strict=True)), self._listed)
        return paths

    def _listed(self, entry: Entry) -> Iterator[bytes]:
        try:
            yield from self.chunks(entry.key, entry.version)
        except NotFound as why:
            raise Unavailable(f"{why} any more; it was deleted after it was listed") from why

    @fork_safe
    def enforces_conditions(self) -> bool:
        """Whether the store refuses to replace an object that must not be there; asked once, by writing a tiny one.

        Stores that ignore the condition say nothing: they replace. The tiny object stays, so that the next process
        asks by one request.
        """
        with self._asking:
            if self._enforces is None:
                self._enforces = self._finds_out()
                if not self._enforces:
                    _LOG.warning(
                        "%s does not refuse to replace an object that must not be there (If-None-Match): Driftline "
                        "looks first whether it is there, which two writers of one key could do at once",
                        self.place.url,
                    )
            return self._enforces

    def _finds_out(self) -> bool:
        # Twice: the first writes the tiny object, the second must not. Who does not know the condition may answer as
        # if it were down, and is not asked for long.
        quick = _client(self.place, min(_QUICK, self.patience))
        try:
            return self._refused(quick) or self._refused(quick)
        except _NoConditions:
            return False
        except Unavailable:
            return self._refused(self._store) or self._refused(self._store)

    def _refused(self, client: Any) -> bool:
        try:
            self._try("write", _PROBE, lambda: client.put(_PROBE, b"driftline", mode="create"))
        except Conflict:
            return True
        return False

    def _put(self, key: str, data: bytes | Path, size: int) -> None:
        large = size > 2 * PART
        self._try(
            "write",
            key,
            lambda: self._store.put(key, data, use_multipart=large, chunk_size=PART, max_concurrency=_PARTS_AT_ONCE),
        )

    def _create(self, key: str, data: bytes | Path) -> None:
        mode: PutMode = "create"
        try:
            self._try("write", key, lambda: self._store.put(key, data, mode=mode))
        except Conflict:
            # S3 also refuses while another such write is under way, which may come to nothing.
            if not self._is_there(key):
                raise Unavailable(f"object {key!r} in {self.place.url} is just being written by another") from None
            raise

    def _create_large(self, key: str, data: bytes | Path, size: int) -> None:
        """In parts to a place of its own, then copied within the store on the condition.

        The place is that of this key and content: who tries again after a kill removes what was left there.
        """
        staged = f"{_STAGED}/{_digest(key, data)}"
        try:
            if self._is_there(key):
                raise self._conflict(key)
            self._put(staged, data, size)
            self._copy(staged, key)
        finally:
            self._tidy(staged)

    def _tidy(self, staged: str) -> None:
        """Remove what was staged. What became of the object is known by now, and stays true where that fails."""
        try:
            self._try("delete", staged, lambda: self._store.delete(staged))
        except NotFound:
            return
        except Unavailable as why:
            _LOG.warning("%s: it is of no use any more; delete it, or have the bucket do so (docs/objects.md)", why)

    def _copy(self, staged: str, key: str) -> None:
        try:
            self._try("write", key, lambda: self._store.copy(staged, key, overwrite=False))
        except NotFound:  # somebody who puts the same there has just done so, and tidied up
            if not self._is_there(key):
                raise Unavailable(f"object {key!r} in {self.place.url} is just being written by another") from None
            raise self._conflict(key) from None

    def _is_there(self, key: str) -> bool:
        try:
            self._try("read", key, lambda: self._store.head(key))
        except NotFound:
            return False
        return True

    def _conflict(self, key: str) -> Conflict:
        return Conflict(f"object {key!r} is already there in {self.place.url}")

    def _part(self, key: str, start: int, version: str | None) -> tuple[bytes, ObjectMeta]:
        options: GetOptions = {"range": (start, start + PART), **_if_match(version)}
        try:
            data, meta = self._try("read", key, lambda: _whole(self._store.get(key, options=options)))
        except _NoRange:  # there are no bytes in it, of which none can be a part
            data, meta = self._try("read", key, lambda: _whole(self._store.get(key, options=_if_match(version))))
        self._check(key, meta, version)
        return data, meta

    def _check(self, key: str, meta: ObjectMeta, version: str | None) -> None:
        """Not every store knows `If-Match`."""
        if version is not None and _version(meta) != version:
            raise self._changed(key)

    def _changed(self, key: str) -> Unavailable:
        return Unavailable(
            f"object {key!r} in {self.place.url} changed while it was read; run it again when nobody writes it"
        )

    def _try(self, act: str, key: str, call: Callable[[], T]) -> T:
        try:
            return call()
        except CLOUD_ERRORS as why:
            # Without its cause: what the client says may hold the signature of a request.
            raise self._told(act, key, why) from None

    def _told(self, act: str, key: str, why: Exception) -> Exception:
        where = f"object {key!r} in {self.place.url}"
        found = said(why, self.place)
        if found.kind == "not there":
            return NotFound(f"there is no {where}")
        if found.kind == "already there":
            return self._conflict(key)
        if found.kind == "changed":
            return self._changed(key)
        if found.kind == "no range":
            return _NoRange(where)
        if found.kind == "wrong key":
            return InputError(f"key {key!r} is not one that {self.place.url} can have: {found.text}")
        if ignores_conditions(found):
            return _NoConditions(where)
        return Unavailable(f"cannot {act} {where}: {found.text}")


class _NoRange(Unavailable):
    """An empty object was asked for a part of it."""


class _NoConditions(Unavailable):
    """The store does not know the condition, and says so."""


def _digest(key: str, data: bytes | Path) -> str:
    found = blake2b(key.encode(), digest_size=16)
    if isinstance(data, Path):
        with data.open("rb") as file:
            while piece := file.read(PART):
                found.update(piece)
    else:
        found.update(data)
    return found.hexdigest()


def _whole(result: GetResult) -> tuple[bytes, ObjectMeta]:
    return bytes(result.bytes()), result.meta


def _if_match(version: str | None) -> GetOptions:
    return {} if version is None or version.startswith(_NO_TAG) else {"if_match": f'"{version}"'}


def _version(meta: ObjectMeta) -> str:
    """The entity tag without its quotes: not every store writes them in a listing."""
    tag = meta["e_tag"]
    if tag is None or tag.startswith("W/"):  # one that does not promise the same bytes
        return f"{_NO_TAG}{tag} {meta['last_modified'].timestamp()}"
    return tag.strip('"')


def _entry(meta: ObjectMeta) -> Entry:
    return Entry(meta["path"], meta["size"], _version(meta))


def _client(place: Place, patience: timedelta) -> Any:
    client: ClientConfig = {
        "allow_http": _plain_endpoint(os.environ),
        "connect_timeout": timedelta(seconds=5),
        "timeout": _REQUEST,
        "user_agent": "driftline",
    }
    retry: RetryConfig = {
        "max_retries": 50,
        "retry_timeout": patience,
        "backoff": {"init_backoff": timedelta(milliseconds=100), "max_backoff": timedelta(seconds=3), "base": 2},
    }
    prefix = place.prefix or None
    try:
        match place.scheme:
            case "s3":
                more = aws_config(os.environ)
                client["allow_http"] |= more.get("endpoint", "").startswith("http://")
                return S3Store(place.bucket, prefix=prefix, client_options=client, retry_config=retry, **more)
            case "gs":
                return GCSStore(place.bucket, prefix=prefix, client_options=client, retry_config=retry)
            case _:
                return AzureStore(place.bucket, prefix=prefix, client_options=client, retry_config=retry)
    except CLOUD_ERRORS as why:
        # Without its cause: what the client says may hold a value of the configuration.
        raise InputError(f"{place.url} cannot be used as it is configured: {misconfigured(why, place)}") from None


def _plain_endpoint(environ: Mapping[str, str]) -> bool:
    """Whether somebody chose an endpoint without TLS."""
    emulated = environ.get("AZURE_STORAGE_USE_EMULATOR", "").lower() in ("1", "true")
    return emulated or any(environ.get(n, "").startswith("http://") for names in ENDPOINTS.values() for n in names)
