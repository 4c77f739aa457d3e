"""What obstore does not look for by itself: the profiles of S3 in `~/.aws`; and where the environment says to look."""

from __future__ import annotations

import configparser
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

from driftline.errors import InputError
from driftline.objects.urls import Place

ENDPOINTS: Final = {
    "s3": ("AWS_ENDPOINT_URL_S3", "AWS_ENDPOINT_URL", "AWS_ENDPOINT"),
    "gs": ("GOOGLE_BASE_URL",),
    "az": ("AZURE_STORAGE_ENDPOINT", "AZURE_ENDPOINT"),
}
"""The variables that name an endpoint, by scheme."""
_OF_ITSELF: Final = (
    "AWS_ACCESS_KEY_ID",
    "AWS_WEB_IDENTITY_TOKEN_FILE",
    "AWS_CONTAINER_CREDENTIALS_RELATIVE_URI",
    "AWS_CONTAINER_CREDENTIALS_FULL_URI",
    "AWS_SKIP_SIGNATURE",
)
_KEYS: Final = {
    "aws_access_key_id": "access_key_id",
    "aws_secret_access_key": "secret_access_key",
    "aws_session_token": "session_token",
}
_ENCRYPTIONS: Final = ("AES256", "aws:kms", "aws:kms:dsse")
_BY_OTHERS: Final = ("role_arn", "sso_session", "sso_start_url", "credential_process")


def aws_config(environ: Mapping[str, str]) -> dict[str, Any]:
    """What obstore must be told beside the environment.

    Where the environment names no credentials itself, the profile AWS_PROFILE (or `default`) of the shared files
    counts: its keys, region and endpoint. Where it has none and is not named, obstore asks the machine for its role.

    Raises:
        InputError: AWS_PROFILE is not in the files, or its credentials need boto3, which is not installed; or the
            encryption that is asked for is none, or one that cannot be had.
    """
    _check_encryption(environ)
    # A copy on condition is made as an upload in parts, which S3 and what speaks like it can refuse at its end.
    config: dict[str, Any] = {"copy_if_not_exists": "multipart"}
    profile = _profile(environ)
    if "region" in profile and not {"AWS_REGION", "AWS_DEFAULT_REGION"} & environ.keys():
        config["region"] = profile["region"]
    if "endpoint_url" in profile and not any(name.startswith("AWS_ENDPOINT") for name in environ):
        config["endpoint"] = profile["endpoint_url"]
    if any(environ.get(name) for name in _OF_ITSELF):
        return config
    if "aws_access_key_id" in profile:
        config |= {ours: profile[theirs] for theirs, ours in _KEYS.items() if theirs in profile}
    elif any(name in profile for name in _BY_OTHERS):
        config["credential_provider"] = _by_boto3(environ.get("AWS_PROFILE"))
    return config


def endpoint_of(place: Place, environ: Mapping[str, str]) -> str:
    """Where the bucket is looked for; empty where it is at its cloud's own, where no other has its name."""
    found = [environ[name].rstrip("/") for name in ENDPOINTS[place.scheme] if environ.get(name)][:1]
    if place.scheme == "s3":
        found = found or [aws_config(environ).get("endpoint", "").rstrip("/")]
    if place.scheme == "az":
        found.append(environ.get("AZURE_STORAGE_ACCOUNT_NAME", ""))
    return " ".join(found)


def _check_encryption(environ: Mapping[str, str]) -> None:
    asked = environ.get("AWS_SERVER_SIDE_ENCRYPTION")
    if asked is None or asked in _ENCRYPTIONS:
        return
    if asked.lower() == "sse-c":
        # The client does not send the key of the source with a copy, of which objects of more than 16 MiB are made.
        raise InputError(
            "AWS_SERVER_SIDE_ENCRYPTION is sse-c: keys of the customer are not supported, since large objects could "
            f"not be written; use {' or '.join(_ENCRYPTIONS[:2])} (docs/objects.md)"
        )
    raise InputError(
        f"AWS_SERVER_SIDE_ENCRYPTION is {asked!r}; it must be one of {', '.join(_ENCRYPTIONS)}, or not be set"
    )


def _profile(environ: Mapping[str, str]) -> dict[str, str]:
    home = Path(environ.get("HOME") or "~").expanduser()
    shared = Path(environ.get("AWS_SHARED_CREDENTIALS_FILE") or home / ".aws" / "credentials")
    config = Path(environ.get("AWS_CONFIG_FILE") or home / ".aws" / "config")
    name = environ.get("AWS_PROFILE") or "default"
    in_config = name if name == "default" else f"profile {name}"
    found = _section(config, in_config) | _section(shared, name)
    if not found and environ.get("AWS_PROFILE"):
        raise InputError(f"AWS_PROFILE={name!r} is not in {shared} or {config}; correct it, or add the profile there")
    return found


def _section(file: Path, name: str) -> dict[str, str]:
    read = configparser.RawConfigParser(strict=False)
    try:
        read.read_string(file.read_text(encoding="utf-8"))
    except OSError:
        return {}
    except (configparser.Error, UnicodeDecodeError):
        # Without its cause, which holds lines of the file.
        raise InputError(f"{file} is not a file of profiles as the AWS tools read it; correct it") from None
    return dict(read[name]) if read.has_section(name) else {}


def _by_boto3(profile: str | None) -> Any:
    try:
        from boto3.session import Session  # only for profiles that need it
        from obstore.auth.boto3 import Boto3CredentialProvider
    except ImportError as why:
        raise InputError(
            "the AWS profile takes its credentials from a role, from SSO or from a program, which needs boto3: "
            "pip install boto3, or set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY"
        ) from why
    return Boto3CredentialProvider(Session(profile_name=profile))
