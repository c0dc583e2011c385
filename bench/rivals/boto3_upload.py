"""Uploads files with boto3's managed transfer and SHA-256, as a script would: nothing is stored about it.

Arguments: the endpoint, the bucket, the access key, the secret key, the number of files at the same time, the files.
Prints the seconds, the seconds of CPU, and the peak of the memory in megabytes.
"""

import resource
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import boto3
from botocore.config import Config


def main(endpoint: str, bucket: str, access_key: str, secret_key: str, concurrency: str, *files: str) -> None:
    """Upload all files."""
    client = boto3.client(
        "s3",
        endpoint_url=endpoint,
        aws_access_key_id=access_key,
        aws_secret_access_key=secret_key,
        region_name="us-east-1",
        config=Config(s3={"addressing_style": "path"}, max_pool_connections=32),
    )

    def upload(file: str) -> None:
        client.upload_file(file, bucket, f"boto3/{Path(file).name}", ExtraArgs={"ChecksumAlgorithm": "SHA256"})

    began, used = time.monotonic(), time.process_time()
    with ThreadPoolExecutor(int(concurrency)) as pool:
        list(pool.map(upload, files))
    seconds, cpu = time.monotonic() - began, time.process_time() - used
    print(seconds, cpu, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024)


main(*sys.argv[1:])
