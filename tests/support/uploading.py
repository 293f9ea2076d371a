"""Uploads of datasets to an api in this process."""

from __future__ import annotations

from typing import Any

from urllib3 import encode_multipart_formdata

from tests.support.api_rig import ApiRig

CSV = "年龄,y\n23,1\n42,0\n".encode()


def upload(rig: ApiRig, data: bytes = CSV, filename: str = "表.csv", **fields: str) -> Any:
    """Upload a file as a dataset."""
    return post_form(rig, {**fields, "file": (filename, data)})


def post_form(rig: ApiRig, fields: Any) -> Any:
    """Post a form; written here, since werkzeug's client leaves files of large forms open."""
    body, content_type = encode_multipart_formdata(fields)
    return rig.client.post("/api/v1/datasets", data=body, content_type=content_type)
