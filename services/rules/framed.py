"""Refuses writes that are meant for another interface: their body is not the content to store. Pure."""

from __future__ import annotations

import re
from collections.abc import Mapping

from common.errors import BadRequest
from services.rules.text import list_members

# Parameters that make a write of S3 another operation than that of the object itself.
_OF_S3 = re.compile(
    r"(?:^|&)(uploads|uploadId|partNumber|delete|acl|tagging|retention|legal-hold|restore|select|torrent|attributes"
    r"|policy|versioning|versionId|lifecycle|cors|encryption|website|notification|object-lock)(?=[=&]|$)"
)


def refuse_framed(headers: Mapping[str, str], query: str) -> None:
    """Raise BadRequest for a write that is S3's, or a form: its body is not what is to be stored.

    `query`: what follows the "?" of the target.
    """
    if operation := _OF_S3.search(query):
        raise BadRequest(
            f"?{operation[1]} is an operation of S3: send it to the S3 front end, or leave it out."
        )
    codings = list_members(headers.get("Content-Encoding", ""))
    if any(coding.lower() == "aws-chunked" for coding in codings) or headers.get(
        "X-Amz-Content-Sha256", ""
    ).startswith("STREAMING-"):
        raise BadRequest(
            "The body is framed as aws-chunked, as S3 has it: send it to the S3 front end, or the bytes "
            "alone, as curl -T and --data-binary do."
        )
    if is_form(headers.get("Content-Type", "")):
        raise BadRequest(
            "The body is a form, as curl -F sends it: send the bytes alone, as curl -T and --data-binary do."
        )


def is_form(content_type: str) -> bool:
    """Whether the body is multipart/form-data: the blob with something before and behind it."""
    return content_type.strip(" \t").lower().startswith("multipart/form-data")
