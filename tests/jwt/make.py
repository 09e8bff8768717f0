"""JWTs as another implementation makes them, good ones and hostile ones, as JSON on standard output.

`tests/jwt/vectors.json` is what this printed once; a test runs it again, with other keys. Needs PyJWT
and cryptography: `python tests/jwt/make.py > tests/jwt/vectors.json`
"""

import base64
import hashlib
import hmac
import json

import jwt
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, padding, rsa
from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature

# The moment at which the tests ask.
NOW = 1_800_000_000
# The order of P-256's group (FIPS 186-4, D.1.2.3), and of edwards25519's (RFC 8032, s. 5.1).
P256_ORDER = 0xFFFFFFFF00000000FFFFFFFFFFFFFFFFBCE6FAADA7179E84F3B9CAC2FC632551
ED25519_ORDER = 2**252 + 27742317777372353535851937790883648493


def b64(data):
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


def unb64(text):
    return base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))


def public_pem(key, form=serialization.PublicFormat.SubjectPublicKeyInfo):
    return key.public_key().public_bytes(serialization.Encoding.PEM, form).decode()


# What is inside is not looked at.
PRIVATE = "-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n"


SECRET = b64(hashlib.sha256(b"a secret of the tests").digest())
RSA, OTHER_RSA = (rsa.generate_private_key(65537, 2048) for _ in range(2))
EC, OTHER_EC = (ec.generate_private_key(ec.SECP256R1()) for _ in range(2))
ED, OTHER_ED = (ed25519.Ed25519PrivateKey.generate() for _ in range(2))
SIGNERS = {"HS256": SECRET, "RS256": RSA, "ES256": EC, "EdDSA": ED}
OTHERS = {"HS256": "x" * 43, "RS256": OTHER_RSA, "ES256": OTHER_EC, "EdDSA": OTHER_ED}
FILES = {
    "HS256": SECRET + "\n",
    "RS256": public_pem(RSA),
    "ES256": public_pem(EC),
    "EdDSA": public_pem(ED),
}


def sign(algorithm, signed, key=None):
    """A signature over any bytes."""
    key = key or SIGNERS[algorithm]
    return jwt.get_algorithm_by_name(algorithm).sign(
        signed, key.encode() if isinstance(key, str) else key
    )


def by_hand(header, payload, algorithm, key=None):
    """A token of any text for a header and any text for claims, signed all the same."""
    signed = f"{b64(header.encode())}.{b64(payload.encode())}"
    return f"{signed}.{b64(sign(algorithm, signed.encode(), key))}"


cases = []


def case(name, algorithm, token, answer, **more):
    cases.append(
        {"name": name, "algorithm": algorithm, "token": token, "answer": answer, **more}
    )


def everywhere(algorithm):
    def encode(claims, headers=None, key=None):
        return jwt.encode(claims, key or SIGNERS[algorithm], algorithm=algorithm, headers=headers)

    def add(name, answer, claims, **more):
        case(name, algorithm, encode(claims), answer, **more)

    whole = {"sub": "alice", "topics": ["news", "blog_*"], "exp": NOW + 3600, "iat": NOW}
    add("good", "accepted", whole, who="alice", topics=["news", "blog_*"], expires=NOW + 3599)
    add("bare", "accepted", {}, who="jwt", topics=[], expires=None)
    add("in its last second", "accepted", {"exp": NOW + 1}, expires=NOW)
    add("at its end", "refused", {"exp": NOW}, reason="exp")
    add("expired", "refused", {"exp": NOW - 1}, reason="exp")
    add("a fraction of a second", "accepted", {"exp": NOW + 1.9}, expires=NOW)
    add("from now on", "accepted", {"nbf": NOW})
    add("from a fast clock", "accepted", {"nbf": NOW + 5})
    add("not yet good", "refused", {"nbf": NOW + 6}, reason="nbf")
    wants = {"audience": "push", "issuer": "api"}
    add("for us", "accepted", {"aud": "push", "iss": "api"}, **wants)
    add("for us among others", "accepted", {"aud": ["web", "push"], "iss": "api"}, **wants)
    add("for another", "refused", {"aud": "web", "iss": "api"}, reason="aud", **wants)
    add("for nearly us", "refused", {"aud": ["Push", "push "], "iss": "api"}, reason="aud", **wants)
    add("for nobody", "refused", {"iss": "api"}, reason="aud", **wants)
    add("of another", "refused", {"aud": "push", "iss": "ap"}, reason="iss", **wants)
    add("of nobody", "refused", {"aud": "push"}, reason="iss", **wants)
    add("unasked", "accepted", {"aud": "web", "iss": "ap"})
    add("one topic, no list", "refused", {"topics": "news"}, reason="topics")
    add("a topic that is none", "refused", {"topics": ["news", 1]}, reason="topics")
    add("no topic", "refused", {"topics": []}, reason="topics")
    add("topics null", "refused", {"topics": None}, reason="topics")
    add("a pattern that is none", "refused", {"topics": ["ok", "*news"]}, reason="pattern 2")

    good = encode(whole)
    header, payload, signature = good.split(".")
    more = b64(json.dumps({**whole, "topics": ["*"]}).encode())
    other_header = b64(json.dumps({"typ": "JWT", "alg": algorithm}).encode())
    unknown = {
        "other claims": f"{header}.{more}.{signature}",
        "another header": f"{other_header}.{payload}.{signature}",
        "no signature": f"{header}.{payload}.",
        "half a signature": f"{header}.{payload}.{b64(unb64(signature)[:-1])}",
        "a longer signature": f"{header}.{payload}.{b64(unb64(signature) + b'x')}",
        "zeros for a signature": f"{header}.{payload}.{b64(bytes(len(unb64(signature))))}",
        "padding": good + "=" * (-len(signature) % 4 or 1),
        "white space": good + " ",
        "two parts": f"{header}.{payload}",
        "four parts": f"{good}.{signature}",
        "another key": encode(whole, key=OTHERS[algorithm]),
        "alg twice, ours first": by_hand(
            f'{{"alg":"{algorithm}","alg":"none"}}', "{}", algorithm
        ),
        "alg twice, ours last": by_hand(
            f'{{"alg":"none","alg":"{algorithm}"}}', "{}", algorithm
        ),
        "alg in other letters": by_hand(
            json.dumps({"alg": algorithm.swapcase()}), "{}", algorithm
        ),
        "no alg": by_hand('{"typ":"JWT"}', "{}", algorithm),
        "a list for a header": by_hand("[]", "{}", algorithm),
    }
    for none in ["none", "None", "NONE", "nOnE", ""]:
        head = b64(json.dumps({"alg": none, "typ": "JWT"}).encode())
        unknown[f"alg {none!r}"] = f"{head}.{payload}."
        unknown[f"alg {none!r}, signed"] = by_hand(json.dumps({"alg": none}), "{}", algorithm)
    for other in SIGNERS.keys() - {algorithm}:
        unknown[f"signed with {other}"] = jwt.encode(whole, SIGNERS[other], algorithm=other)
        unknown[f"signed with {other}, header ours"] = by_hand(
            json.dumps({"alg": algorithm}), "{}", other
        )
        # The classic swap: what is public here is the secret there.
        public = FILES[other] if algorithm == "HS256" else FILES[algorithm]
        for secret in [public, public.rstrip("\n")]:
            mac = lambda signed: b64(hmac.digest(secret.encode(), signed.encode(), "sha256"))
            for alg in ["HS256", algorithm]:
                signed = f"{b64(json.dumps({'alg': alg}).encode())}.{payload}"
                unknown[f"a public key for a secret, {alg}, {other}, {len(secret)}"] = (
                    f"{signed}.{mac(signed)}"
                )
    # Its own key, brought along.
    attacker = OTHERS[algorithm]
    brought = {"jku": "http://127.0.0.1:1/", "x5u": "http://127.0.0.1:1/"}
    if algorithm != "HS256":
        to_jwk = jwt.get_algorithm_by_name(algorithm).to_jwk
        brought["jwk"] = json.loads(to_jwk(attacker.public_key()))
    unknown["a key of its own"] = encode(whole, headers=brought, key=attacker)
    for name, token in unknown.items():
        case(name, algorithm, token, "unknown")

    for kid in ["../../../../dev/null", "/dev/null", "' OR 1=1 --", "", "\u0000", "k" * 500]:
        case(f"kid {kid[:20]!r}", algorithm, encode(whole, {"kid": kid}), "accepted")
        case(
            f"kid {kid[:20]!r}, not ours",
            algorithm,
            encode(whole, {"kid": kid}, attacker),
            "unknown",
        )
    case("kid a number", algorithm, by_hand(
        json.dumps({"alg": algorithm, "kid": 1}), "{}", algorithm), "unknown")
    case("a large header", algorithm, encode(whole, {"x": "x" * 6_000}), "accepted")
    case("a deep header", algorithm, by_hand(
        '{"alg":"%s","x":%s}' % (algorithm, "[" * 500 + "]" * 500), "{}", algorithm), "unknown")
    case("crit", algorithm, encode(whole, {"crit": ["exp"]}), "refused", reason="crit")
    case("b64", algorithm, by_hand(
        json.dumps({"alg": algorithm, "b64": False, "crit": ["b64"]}), "{}", algorithm),
        "refused", reason="crit")
    for name, payload in {
        "exp twice": '{"exp":%d,"exp":%d}' % (NOW - 1, NOW + 9),
        "exp twice, the other way round": '{"exp":%d,"exp":%d}' % (NOW + 9, NOW - 1),
        "topics twice": '{"topics":["a"],"topics":["*"]}',
        "topics twice, once escaped": '{"topics":["a"],"\\u0074opics":["*"]}',
        "exp a string": '{"exp":"%d"}' % (NOW + 9),
        "exp null": '{"exp":null}',
        "exp too large": '{"exp":1e999}',
        "nbf a string": '{"nbf":"0"}',
        "claims a list": "[]",
        "claims no JSON": "claims",
        "claims empty": "",
        "sub a number": '{"sub":1}',
    }.items():
        token = by_hand(json.dumps({"alg": algorithm}), payload, algorithm)
        case(name, algorithm, token, "refused")
    case("exp in the far future", algorithm, by_hand(
        json.dumps({"alg": algorithm}), '{"exp":1e300}', algorithm), "refused", reason="exp")
    case("exp in milliseconds", algorithm, by_hand(
        json.dumps({"alg": algorithm}), '{"exp":%d}' % ((NOW + 9) * 1000), algorithm),
        "refused", reason="exp")
    case("exp before 1970", algorithm, by_hand(
        json.dumps({"alg": algorithm}), '{"exp":-1}', algorithm), "refused", reason="exp")
    case("a name for the log", algorithm, encode({"sub": "a\nb\u202e" + "x" * 200}), "accepted",
        who="ab" + "x" * 126)


for algorithm in SIGNERS:
    everywhere(algorithm)

# What only one algorithm has.
whole = {"sub": "alice", "exp": NOW + 3600}
for other in ["HS384", "HS512"]:
    case(other, "HS256", jwt.encode(whole, SECRET * 2, algorithm=other), "unknown")
for other in ["RS384", "RS512", "PS256"]:
    case(other, "RS256", jwt.encode(whole, RSA, algorithm=other), "unknown")
signed = f"{b64(json.dumps({'alg': 'RS256'}).encode())}.{b64(b'{}')}"
pss = RSA.sign(
    signed.encode(), padding.PSS(padding.MGF1(hashes.SHA256()), 32), hashes.SHA256()
)
case("PSS under RS256's name", "RS256", f"{signed}.{b64(pss)}", "unknown")

signed = f"{b64(json.dumps({'alg': 'ES256'}).encode())}.{b64(b'{}')}"
der = EC.sign(signed.encode(), ec.ECDSA(hashes.SHA256()))
r, s = decode_dss_signature(der)
pair = lambda r, s: b64(r.to_bytes(32, "big") + s.to_bytes(32, "big"))
case("two numbers", "ES256", f"{signed}.{pair(r, s)}", "accepted")
# ECDSA has two signatures for each message, and JWS takes both (RFC 7518 s. 3.4).
case("its mirror image", "ES256", f"{signed}.{pair(r, P256_ORDER - s)}", "accepted")
case("DER", "ES256", f"{signed}.{b64(der)}", "unknown")
for name, (r, s) in {
    "numbers of the order": (P256_ORDER, P256_ORDER),
    "r is 0": (0, s),
    "s is 0": (r, 0),
    "s turned around": (s, r),
}.items():
    case(name, "ES256", f"{signed}.{pair(r, s)}", "unknown")

signed = f"{b64(json.dumps({'alg': 'EdDSA'}).encode())}.{b64(b'{}')}"
signature = ED.sign(signed.encode())
shifted = int.from_bytes(signature[32:], "little") + ED25519_ORDER
shifted = signature[:32] + shifted.to_bytes(32, "little")
case("a multiple of the order more", "EdDSA", f"{signed}.{b64(shifted)}", "unknown")

# Key files: what is taken, and what is told of the others.
P384 = ec.generate_private_key(ec.SECP384R1())
WEAK = rsa.generate_private_key(65537, 1024)
pkcs1 = public_pem(RSA, serialization.PublicFormat.PKCS1)
compressed = EC.public_key().public_bytes(
    serialization.Encoding.X962, serialization.PublicFormat.CompressedPoint
)
spki = bytes.fromhex("3039301306072a8648ce3d020106082a8648ce3d030107032200") + compressed
compressed = f"-----BEGIN PUBLIC KEY-----\n{base64.encodebytes(spki).decode()}-----END PUBLIC KEY-----\n"
certificate = FILES["RS256"].replace("PUBLIC KEY", "CERTIFICATE")
many = public_pem(OTHER_RSA) + "# the one before\n" + FILES["RS256"]
windows = FILES["ES256"].replace("\n", "\r\n")
keys = [
    {"algorithm": algorithm, "text": text, "error": None} for algorithm, text in FILES.items()
] + [
    {"algorithm": "RS256", "text": pkcs1, "error": None},
    {"algorithm": "RS256", "text": many, "error": None},
    {"algorithm": "ES256", "text": windows, "error": None},
    {"algorithm": "HS256", "text": SECRET, "error": None},
    {"algorithm": "HS256", "text": SECRET + "\r\n", "error": None},
]
for algorithm, text, error in [
    ("HS256", "x" * 31, "the secret has 31 bytes"),
    ("HS256", "x" * 31 + "\n", "the secret has 31 bytes"),
    ("HS256", "", "the secret has 0 bytes"),
    ("HS256", FILES["RS256"], "a key is no secret"),
    ("HS256", "\n " + FILES["EdDSA"], "a key is no secret"),
    ("HS256", PRIVATE, "a key is no secret"),
    ("HS256", certificate, "a key is no secret"),
    ("RS256", public_pem(WEAK), "an RSA key of 1024 bits"),
    ("RS256", public_pem(WEAK, serialization.PublicFormat.PKCS1), "an RSA key of 1024 bits"),
    ("RS256", FILES["ES256"], "RS256 needs an RSA key"),
    ("RS256", FILES["HS256"], "there is no key in it"),
    ("RS256", "", "there is no key in it"),
    ("RS256", PRIVATE, "there is a private key in it"),
    ("RS256", FILES["RS256"] + PRIVATE, "there is a private key in it"),
    ("RS256", certificate, "there is a certificate in it"),
    ("RS256", FILES["RS256"][:200], "its PEM is broken"),
    ("RS256", FILES["RS256"].replace("MII", "MIX"), "it is no public key inside"),
    ("ES256", public_pem(P384), "ES256 needs a key on the curve P-256"),
    ("ES256", compressed, "its point is compressed"),
    ("ES256", FILES["RS256"], "ES256 needs a key on the curve P-256"),
    ("ES256", pkcs1, "ES256 needs a key on the curve P-256"),
    ("EdDSA", FILES["ES256"], "EdDSA needs an Ed25519 key"),
]:
    keys.append({"algorithm": algorithm, "text": text, "error": error})


# JWK sets: a token names its key.
def jwk(algorithm, key, **more):
    key = json.loads(jwt.get_algorithm_by_name(algorithm).to_jwk(key.public_key()))
    key.pop("key_ops", None)
    return {**key, **more}


# Good until 2100: these are shown to a server with a clock.
whole = {"sub": "alice", "exp": 4_102_444_800}
sets = []
for algorithm in ["RS256", "ES256", "EdDSA"]:
    key, other = SIGNERS[algorithm], OTHERS[algorithm]
    encode = lambda key, kid: jwt.encode(
        whole, key, algorithm=algorithm, headers=None if kid is None else {"kid": kid}
    )
    wrong = "ES256" if algorithm == "RS256" else "RS256"
    sets.append(
        {
            "algorithm": algorithm,
            "set": {
                "keys": [
                    jwk(algorithm, other, kid="for encryption", use="enc"),
                    jwk(algorithm, other, kid="for another", alg="X"),
                    jwk(algorithm, other, kid="signs", key_ops=["sign"]),
                    jwk(wrong, SIGNERS[wrong], kid="of another kind"),
                    {"kty": "oct", "k": b64(b"x" * 32), "kid": "secret"},
                    {"kty": "RSA", "n": b64(b"\xff" * 128), "e": "AQAB", "kid": "weak"},
                    {"kty": "unheard of"},
                    "no object",
                    jwk(algorithm, key, kid="ours", use="sig", alg=algorithm, key_ops=["verify"]),
                ]
            },
            "used": 1,
            "tokens": [
                ["ours", encode(key, "ours"), "accepted"],
                ["unnamed", encode(key, None), "accepted"],
                ["ours by name alone", encode(other, "ours"), "unknown"],
                # A name that only keys for something else have is not there either.
                ["for encryption", encode(other, "for encryption"), "awaited"],
                ["another name", encode(key, "other"), "awaited"],
            ],
        }
    )

print(json.dumps(
    {"now": NOW, "files": FILES, "cases": cases, "keys": keys, "sets": sets}, indent=0
))
