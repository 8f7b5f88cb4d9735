//! Which request is which operation, and the form of its answer.
//!
//! Owns paths, parameters and status codes. `openapi.json` says the same for others; a test compares them. Refuses
//! whoever does not show the token, and to know what an operation does. Fails with a status code and a `Problem`.

use std::sync::Arc;

use http_body_util::{BodyExt as _, Limited};
use hyper::{
    Method, Request, Response, StatusCode,
    body::Incoming,
    header::{self, HeaderName, HeaderValue},
};
use serde::{Serialize, de::DeserializeOwned};

use super::{
    answer::Sent,
    desk::{Desk, Operation, PAGE, Trouble},
    token::Token,
    wire::{self, Problem, Selection, Wanted},
};
use crate::store::{EntryId, Filter, StoreError};

/// Octets of a request's body.
const BODY: usize = 256 * 1024;
/// The description of all this.
pub(super) const DOCUMENT: &str = include_str!("openapi.json");

/// What can be asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Route {
    Document,
    List,
    Count,
    Change(Operation),
    Show,
    Content,
    Why,
}

/// All there is.
pub(super) const ROUTES: [(Route, &str, &str); 10] = [
    (Route::Document, "GET", "/openapi.json"),
    (Route::List, "GET", "/v1/queue"),
    (Route::Count, "GET", "/v1/queue/count"),
    (Route::Change(Operation::Retry), "POST", "/v1/queue/retry"),
    (Route::Change(Operation::Hold), "POST", "/v1/queue/hold"),
    (Route::Change(Operation::Release), "POST", "/v1/queue/release"),
    (Route::Change(Operation::Drop), "POST", "/v1/queue/drop"),
    (Route::Show, "GET", "/v1/messages/{id}"),
    (Route::Content, "GET", "/v1/messages/{id}/content"),
    (Route::Why, "GET", "/v1/why/{id}"),
];

/// Why there is no other answer.
#[derive(Debug)]
struct Refusal {
    code: StatusCode,
    problem: String,
    /// A field that the code wants to have in the answer.
    field: Option<(HeaderName, HeaderValue)>,
}

impl Refusal {
    fn new(code: StatusCode, problem: impl Into<String>) -> Self {
        Self { code, problem: problem.into(), field: None }
    }

    fn with(self, name: HeaderName, value: HeaderValue) -> Self {
        Self { field: Some((name, value)), ..self }
    }
}

impl From<Trouble> for Refusal {
    fn from(trouble: Trouble) -> Self {
        let code = match &trouble {
            Trouble::Asked(_) => StatusCode::BAD_REQUEST,
            Trouble::Unknown(_) | Trouble::Store(StoreError::Unknown(_)) => StatusCode::NOT_FOUND,
            Trouble::Store(_) => StatusCode::SERVICE_UNAVAILABLE,
        };
        Self::new(code, trouble.to_string())
    }
}

fn asked(problem: impl Into<String>) -> Refusal {
    Refusal::new(StatusCode::BAD_REQUEST, problem)
}

/// Answers one request. `peer`: who asks.
pub(super) async fn answer(request: Request<Incoming>, desk: &Desk, token: &Token, peer: &str) -> Response<Sent> {
    match answered(request, desk, token, peer).await {
        Ok(response) => response,
        Err(Refusal { code, problem, field }) => {
            let mut response = json(&Problem { error: problem });
            *response.status_mut() = code;
            response.headers_mut().extend(field);
            response
        }
    }
}

async fn answered(
    request: Request<Incoming>,
    desk: &Desk,
    token: &Token,
    peer: &str,
) -> Result<Response<Sent>, Refusal> {
    let (parts, body) = request.into_parts();
    let path = parts.uri.path().to_owned();
    let (route, id) = find(&parts.method, &path)?;
    if route == Route::Document {
        return Ok(typed("application/json", Sent::whole(DOCUMENT)));
    }
    if !parts.headers.get(header::AUTHORIZATION).is_some_and(|field| shows(token, field.as_bytes())) {
        crate::observe::events::admin_refused(peer);
        let text = "show the token: Authorization: Bearer, and what is in admin/token below the data folder";
        let refusal = Refusal::new(StatusCode::UNAUTHORIZED, text);
        return Err(refusal.with(header::WWW_AUTHENTICATE, HeaderValue::from_static("Bearer")));
    }
    let query = parts.uri.query().unwrap_or_default();
    if !query.is_empty() && !matches!(route, Route::List | Route::Count) {
        return Err(asked("this takes no parameters"));
    }
    let message = || wire::message_or_entry(id).map(|(message, _)| message).map_err(asked);
    Ok(match route {
        Route::Document => typed("application/json", Sent::whole(DOCUMENT)),
        Route::List => {
            let (filter, after, limit) = parameters(query)?;
            json(&desk.find(filter, after, limit.unwrap_or(PAGE)).await?)
        }
        Route::Count => match parameters(query)? {
            (_, _, Some(_)) => return Err(asked("a count has no limit")),
            (filter, after, None) => json(&desk.count(filter, after).await?),
        },
        Route::Show => json(&desk.show(message()?).await?),
        Route::Why => json(&desk.why(id).await?),
        Route::Content => {
            let body = desk.body(message()?).await?;
            let sent = Sent::message(body).map_err(|error| Trouble::Store(StoreError::Failed(error.to_string())))?;
            typed("message/rfc822", sent)
        }
        Route::Change(operation) => json(&desk.change(operation, read::<Wanted>(body).await?, peer).await?),
    })
}

/// Is this the token? The scheme's case does not count (RFC 9110 section 11.1).
fn shows(token: &Token, field: &[u8]) -> bool {
    let scheme = field.split_first_chunk::<7>();
    scheme.is_some_and(|(scheme, shown)| scheme.eq_ignore_ascii_case(b"Bearer ") && token.is(shown))
}

/// The route, and what stands for `{id}` in its path.
fn find<'a>(method: &Method, path: &'a str) -> Result<(Route, &'a str), Refusal> {
    let mut allowed = Vec::new();
    for (route, verb, template) in ROUTES {
        if let Some(id) = matches(template, path) {
            if method.as_str() == verb {
                return Ok((route, id));
            }
            allowed.push(verb);
        }
    }
    if allowed.is_empty() {
        return Err(Refusal::new(StatusCode::NOT_FOUND, "there is nothing here; /openapi.json says what there is"));
    }
    let allowed = allowed.join(", ");
    let refusal = Refusal::new(StatusCode::METHOD_NOT_ALLOWED, format!("only {allowed}"));
    // RFC 9110 section 15.5.6. Verbs are plain text.
    Err(match HeaderValue::try_from(allowed) {
        Ok(allowed) => refusal.with(header::ALLOW, allowed),
        Err(_) => refusal,
    })
}

fn matches<'a>(template: &str, path: &'a str) -> Option<&'a str> {
    let (mut wanted, mut given) = (template.split('/'), path.split('/'));
    let mut id = "";
    loop {
        match (wanted.next(), given.next()) {
            (None, None) => return Some(id),
            (Some("{id}"), Some(part)) if !part.is_empty() => id = part,
            (Some(one), Some(other)) if one == other => {}
            _ => return None,
        }
    }
}

/// A filter, where to go on, and how many.
fn parameters(query: &str) -> Result<(Filter, Option<EntryId>, Option<usize>), Refusal> {
    let (mut selection, mut after, mut limit) = (Selection::default(), None, None);
    for (name, value) in form_urlencoded::parse(query.as_bytes()) {
        let text = || Some(value.to_string());
        let time =
            || value.parse().map(Some).map_err(|_| asked(format!("{name}: {value:?} is no time in milliseconds")));
        match &*name {
            "state" => selection.state.push(value.to_string()),
            "sender" => selection.sender = text(),
            "recipient" => selection.recipient = text(),
            "domain" => selection.domain = text(),
            "message" => selection.message = text(),
            "reason" => selection.reason = text(),
            "since" => selection.since = time()?,
            "before" => selection.before = time()?,
            "after" => after = Some(value.parse().map_err(asked)?),
            "limit" => {
                let number = value.parse().ok().filter(|number| (1..=PAGE).contains(number));
                limit = Some(number.ok_or_else(|| asked(format!("limit: {value:?} is not 1 to {PAGE}")))?);
            }
            other => return Err(asked(format!("{other:?} is no parameter; /openapi.json has them all"))),
        }
    }
    Ok((selection.try_into().map_err(asked)?, after, limit))
}

async fn read<T: DeserializeOwned>(body: Incoming) -> Result<T, Refusal> {
    let octets = Limited::new(body, BODY).collect().await.map_err(|error| {
        let code = if error.is::<http_body_util::LengthLimitError>() {
            StatusCode::PAYLOAD_TOO_LARGE
        } else {
            StatusCode::BAD_REQUEST
        };
        Refusal::new(code, error.to_string())
    })?;
    serde_json::from_slice(&octets.to_bytes()).map_err(|error| asked(format!("the body: {error}")))
}

fn json(value: &impl Serialize) -> Response<Sent> {
    // Plain data always has a JSON form.
    typed("application/json", Sent::whole(serde_json::to_vec(value).unwrap_or_default()))
}

fn typed(kind: &'static str, body: Sent) -> Response<Sent> {
    let mut response = Response::new(body);
    response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static(kind));
    response.headers_mut().insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    response
}

/// What each connection needs.
pub(super) type Shared = Arc<(Desk, Token)>;
