//! What programs read by the SDK: HTTP of both sides, and where it is asked for.
//!
//! Owns the targets of `craton::http`. A message must come to the same in whatever parts it
//! arrives.

use crate::Target;
use craton::http::{Body, Chunks, HEAD_BYTES_MAX, Refused, RequestHead, ResponseHead, Url};

/// Longest body.
const BODY_BYTES_MAX: usize = 1000;
const WORDS: &[&[u8]] = &[
    b"HTTP/1.1",
    b"\r\n\r\n",
    b"\r\n",
    b"Content-Length: ",
    b"Transfer-Encoding: chunked\r\n",
    b"Connection: close\r\n",
    b"Host: a\r\n",
    b"0\r\n\r\n",
    b"ffffffffffffffff",
    b";a=b",
];

pub(crate) const REQUEST: Target = Target {
    name: "http-request",
    about: "a request that a program serves",
    fuzz: |bytes| {
        let head = whole(RequestHead::parse, |head| head.bytes, bytes);
        match head {
            Err(Refused(status)) => status.into(),
            Ok(None) => 1,
            Ok(Some(head)) => {
                assert!(head.body != Body::UntilEnd, "a request without an end");
                2 | u64::from(head.keep_alive) << 2
                    | u64::from(head.query.is_some()) << 3
                    | body(head.body, &bytes[head.bytes..]) << 4
            }
        }
    },
    seeds: || {
        let seeds = [
            "GET /a?b HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n",
            "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n\
             5\r\nhello\r\n0\r\na: b\r\n\r\n",
            "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 2\r\nExpect: 100-continue\r\n\r\nokGET",
        ];
        seeds.map(|seed| seed.as_bytes().to_vec()).to_vec()
    },
    words: WORDS,
    cost: 1,
};

pub(crate) const RESPONSE: Target = Target {
    name: "http-response",
    about: "a response that a program asked for",
    fuzz: |bytes| {
        let head = whole(ResponseHead::parse, |head| head.bytes, bytes);
        match head {
            Err(Refused(status)) => status.into(),
            Ok(None) => 1,
            Ok(Some(head)) => {
                assert!((100..600).contains(&head.status), "status {}", head.status);
                2 | u64::from(head.status / 100) << 2 | body(head.body, &bytes[head.bytes..]) << 8
            }
        }
    },
    seeds: || {
        let seeds = [
            "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello",
            "HTTP/1.1 404 Not Found\r\nTransfer-Encoding: chunked\r\n\r\n\
             A;x\r\n0123456789\r\n0\r\n\r\n",
            "HTTP/1.1 103 Early Hints\r\n\r\nHTTP/1.0 200 OK\r\n\r\nuntil the end",
        ];
        seeds.map(|seed| seed.as_bytes().to_vec()).to_vec()
    },
    words: WORDS,
    cost: 1,
};

pub(crate) const URL: Target = Target {
    name: "url",
    about: "a URL that a program is told to ask",
    fuzz: |bytes| {
        let Ok(text) = std::str::from_utf8(bytes) else { return 0 };
        let Ok(url) = Url::parse(text) else { return 1 };
        // Nothing in it may end the line that it becomes a part of, or a word of it.
        assert!(!text.contains(|letter: char| letter.is_whitespace() || letter.is_control()));
        2 | u64::from(text.starts_with("https")) << 2
            | (format!("{url:?}").len().min(255) as u64) << 8
    },
    seeds: || {
        let seeds = ["http://a.b:80/c?d#e", "https://10.0.0.1", "http://a?b"];
        seeds.map(|seed| seed.as_bytes().to_vec()).to_vec()
    },
    words: &[b"http://", b"https://", b":80", b":65536", b"/", b"?", b"#", b"@", b"[::1]"],
    cost: 1,
};

/// A head comes byte by byte up to here, then in parts of so many.
const DENSE_BYTES: usize = 500;
const SPARSE_BYTES: usize = 101;

/// The head, which no shorter part of the bytes may be, nor a longer one change. Read as it comes
/// it is the same, or is refused for the same.
fn whole<T: std::fmt::Debug>(
    parse: impl Fn(&[u8]) -> Result<Option<T>, Refused>,
    len: impl Fn(&T) -> usize,
    bytes: &[u8],
) -> Result<Option<T>, Refused> {
    let head = parse(bytes);
    let rendered = format!("{head:?}");
    let is_cut =
        |end: &usize| *end < DENSE_BYTES || end.is_multiple_of(SPARSE_BYTES) || *end == bytes.len();
    let mut parts = (0..=bytes.len()).filter(is_cut).map(|end| parse(&bytes[..end]));
    let first = parts.find(|part| !matches!(part, Ok(None))).unwrap_or(Ok(None));
    assert_eq!(format!("{first:?}"), rendered, "it depends on how much of it came at once");
    if let Ok(Some(head)) = &head {
        let len = len(head);
        assert!(len <= bytes.len() && len <= HEAD_BYTES_MAX, "a head of {len} bytes");
        let longer = [&bytes[..len], b"\nx: \r\n\r\n0\r\n\r\n"].concat();
        for bytes in [&bytes[..len], &longer] {
            let again = parse(bytes);
            assert_eq!(format!("{again:?}"), rendered, "it depends on what is behind it");
        }
        assert!(matches!(parse(&bytes[..len - 1]), Ok(None)), "it is shorter than it says");
    }
    head
}

/// Bodies up to this are cut in two at every byte.
const CUT_BYTES_MAX: usize = 64;

/// What the body comes to: the same in one part and in many, or refused for the same.
fn body(body: Body, bytes: &[u8]) -> u64 {
    if body != Body::Chunked {
        return 1;
    }
    let whole = unchunk(&[bytes]);
    for part in [1, 3] {
        let parts: Vec<_> = bytes.chunks(part).collect();
        assert_eq!(unchunk(&parts), whole, "in parts of {part}");
    }
    for cut in 1..bytes.len().min(CUT_BYTES_MAX) {
        assert_eq!(unchunk(&[&bytes[..cut], &bytes[cut..]]), whole, "cut at {cut}");
    }
    match whole {
        Err(Refused(status)) => u64::from(status),
        Ok(None) => 2,
        Ok(Some((body, _))) => 3 | (body.len().min(15) as u64) << 2,
    }
}

/// The body, and how many bytes are left over behind it.
fn unchunk(parts: &[&[u8]]) -> Result<Option<(Vec<u8>, usize)>, Refused> {
    let (mut chunks, mut rest) = (Chunks::new(BODY_BYTES_MAX), Vec::new());
    let mut to_come: usize = parts.iter().map(|part| part.len()).sum();
    for part in parts {
        rest.extend_from_slice(part);
        to_come -= part.len();
        if let Some(body) = chunks.take(&mut rest)? {
            assert!(body.len() <= BODY_BYTES_MAX, "a body of {} bytes", body.len());
            assert!(part.ends_with(&rest[..]), "what is left over is changed");
            return Ok(Some((body, rest.len() + to_come)));
        }
    }
    Ok(None)
}
