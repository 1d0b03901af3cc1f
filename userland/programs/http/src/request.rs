//! Requests: from bytes to what is asked for.
//!
//! Owns [`Request`] and [`parse`]. The syntax is the crate `httparse`'s business; which lengths and
//! headers are believed is decided here: whatever could make two readers of one connection disagree
//! about where a request ends (RFC 9112, section 11.2) is refused.

use alloc::string::String;

/// Longest head of a request.
pub(crate) const HEAD_BYTES_MAX: usize = 8 << 10;
/// Most headers.
const HEADERS_MAX: usize = 64;
/// Longest body, which is read and forgotten.
const BODY_BYTES_MAX: usize = 1 << 20;

/// What a client asks for.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) struct Request {
    pub(crate) method: String,
    /// Without the query.
    pub(crate) path: String,
    /// The client wants to ask again on this connection.
    pub(crate) keep_alive: bool,
    /// Bytes of its head.
    pub(crate) head_bytes: usize,
    /// Bytes of its body, which follow.
    pub(crate) body_bytes: usize,
}

/// Why there is no request: the status that says so. The connection ends with it.
#[derive(Copy, Clone, Debug, Eq, PartialEq)]
pub(crate) struct Refused(pub(crate) u16);

/// The request that `bytes` begin with; `None` until its head is whole.
pub(crate) fn parse(bytes: &[u8]) -> Result<Option<Request>, Refused> {
    let mut headers = [httparse::EMPTY_HEADER; HEADERS_MAX];
    let mut head = httparse::Request::new(&mut headers);
    let head_bytes = match head.parse(bytes) {
        Ok(httparse::Status::Complete(head_bytes)) => head_bytes,
        Ok(httparse::Status::Partial) if bytes.len() < HEAD_BYTES_MAX => return Ok(None),
        Ok(httparse::Status::Partial) | Err(httparse::Error::TooManyHeaders) => {
            return Err(Refused(431));
        }
        Err(httparse::Error::Version) => return Err(Refused(505)),
        Err(_) => return Err(Refused(400)),
    };
    let (Some(method), Some(target), Some(version)) = (head.method, head.path, head.version) else {
        return Err(Refused(400));
    };
    let mut request = Request {
        method: method.into(),
        path: target.split(['?', '#']).next().unwrap_or_default().into(),
        keep_alive: version == 1,
        head_bytes,
        body_bytes: 0,
    };
    let (mut length, mut hosts) = (None, 0);
    for header in head.headers.iter() {
        let value = core::str::from_utf8(header.value).map_err(|_| Refused(400))?.trim();
        if header.name.eq_ignore_ascii_case("content-length") {
            let is_number = !value.is_empty() && value.bytes().all(|byte| byte.is_ascii_digit());
            let given = value.parse().ok().filter(|_| is_number).ok_or(Refused(400))?;
            if length.replace(given).is_some_and(|before: usize| before != given) {
                return Err(Refused(400));
            }
        } else if header.name.eq_ignore_ascii_case("transfer-encoding") {
            return Err(Refused(501));
        } else if header.name.eq_ignore_ascii_case("connection") {
            for word in value.split(',').map(str::trim) {
                request.keep_alive |= word.eq_ignore_ascii_case("keep-alive");
                if word.eq_ignore_ascii_case("close") {
                    request.keep_alive = false;
                    break;
                }
            }
        } else if header.name.eq_ignore_ascii_case("host") {
            hosts += 1;
        }
    }
    if hosts > 1 || (version == 1 && hosts == 0) {
        return Err(Refused(400));
    }
    request.body_bytes = length.unwrap_or(0);
    if request.body_bytes > BODY_BYTES_MAX {
        return Err(Refused(413));
    }
    Ok(Some(request))
}
