"""Signs, verifies and hashes PKI tokens with Debian's python3-keystoneclient, as Keystone did.

One JSON object on standard input, one answer on standard output:
{"sign": [[body, digest], ...]} -> [{"pki", "pkiz", "sha256", "md5", "pkiz_sha256", "pkiz_md5"}, ...]
{"verify": [token, ...]}        -> [the body that was signed, or null, ...]
Beside it "signing", "key" and "ca": paths of PEM files.
"""
import json
import sys

from keystoneclient.common import cms


def signed(body, digest, files):
    pki = cms.cms_sign_token(body, files['signing'], files['key'], message_digest=digest)
    pkiz = cms.pkiz_sign(body, files['signing'], files['key'], message_digest=digest)
    ids = {name: cms.cms_hash_token(pki, name) for name in ('sha256', 'md5')}
    ids.update({'pkiz_' + name: cms.cms_hash_token(pkiz, name) for name in ('sha256', 'md5')})
    return dict(pki=pki, pkiz=pkiz, **ids)


def verified(token, files):
    try:
        if cms.is_pkiz(token):
            body = cms.pkiz_verify(token, files['signing'], files['ca'])
        else:
            body = cms.verify_token(token, files['signing'], files['ca'])
    except Exception:
        # Whatever it is that it does not like: of that kind are subprocess.CalledProcessError, zlib.error, binascii.Error, ...
        return None
    return body.decode('utf-8', 'replace')


def main():
    asked = json.load(sys.stdin)
    answers = [signed(body, digest, asked) for body, digest in asked.get('sign', [])]
    answers += [verified(token, asked) for token in asked.get('verify', [])]
    json.dump(answers, sys.stdout)


main()
