"""Asks an endpoint as SageMaker's clients do, by boto3: python invoke.py URL < asks.json.

Inference id and custom attributes are arguments of boto3, the endpoint's name is part of the path. Prints status and
the body of each answer.
"""

from __future__ import annotations

import json
import sys
from base64 import b64decode, b64encode

import boto3
from botocore.exceptions import ClientError

client = boto3.client(
    "sagemaker-runtime", "eu-west-1", endpoint_url=sys.argv[1], aws_access_key_id="x", aws_secret_access_key="x"
)
answers = []
for each in json.load(sys.stdin):
    given = {"EndpointName": "churn", "InferenceId": each["id"], "CustomAttributes": "tier=gold"}
    try:
        found = client.invoke_endpoint(ContentType=each["content_type"], Body=b64decode(each["request"]), **given)
        answers.append((200, b64encode(found["Body"].read()).decode()))
    except ClientError as why:
        answers.append((why.response["ResponseMetadata"]["HTTPStatusCode"], ""))
print(json.dumps(answers))
