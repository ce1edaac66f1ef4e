//! `/errors/{code}`: the meaning of an error and the way out, from the one table of errors; and the
//! same page as the response to a request that failed.

use std::fmt;

use actix_web::http::StatusCode;
use actix_web::web::Path;
use actix_web::{HttpResponse, ResponseError};
use askama::Template;

use super::frame::Frame;
use super::page::{Page, html};
use crate::api::problem::{Code, Problem};
use crate::domain::attempt::printable;

/// A problem whose response is a page.
#[derive(Debug)]
pub(super) struct PageError(Problem);

impl From<Problem> for PageError {
    fn from(problem: Problem) -> Self {
        Self(problem)
    }
}

impl fmt::Display for PageError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0.detail)
    }
}

impl ResponseError for PageError {
    fn status_code(&self) -> StatusCode {
        StatusCode::from_u16(self.0.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR)
    }

    fn error_response(&self) -> HttpResponse {
        let mut answer = html(self.status_code(), &ErrorPage::of_problem(&self.0));
        // `refused` renders the page again, in the reader's own frame.
        answer.extensions_mut().insert(self.0.clone());
        answer
    }
}

#[derive(Debug, Template)]
#[template(path = "error_page.html")]
pub(super) struct ErrorPage {
    frame: Frame,
    code: Code,
    /// Words for this occurrence. `None` on the page that explains the code in general.
    detail: Option<String>,
    /// Address of the overview. `None` if it is `/`.
    home: Option<String>,
}

impl ErrorPage {
    const fn of(code: Code, frame: Frame) -> Self {
        Self {
            frame,
            code,
            detail: None,
            home: None,
        }
    }

    /// The response to a request that failed, in a frame without a reader.
    pub(super) fn of_problem(problem: &Problem) -> Self {
        let code = Code::parse(&problem.code).unwrap_or(Code::InvalidRequest);
        Self {
            detail: Some(printable(&problem.detail)),
            ..Self::of(code, Frame::default())
        }
    }

    /// Puts the page into the reader's own frame.
    pub(super) fn framed(self, frame: Frame, home: Option<String>) -> Self {
        Self {
            frame,
            home,
            ..self
        }
    }

    fn reason(&self) -> &'static str {
        let status = StatusCode::from_u16(self.code.status()).ok();
        let reason = status.and_then(|status| status.canonical_reason());
        reason.unwrap_or_default()
    }

    /// The way out: for the reader of a page after a request, else for a program as well.
    fn help(&self) -> &'static str {
        match self.code {
            Code::Unauthorized if self.detail.is_some() => {
                "Run `portbook dashboard` in a terminal: it opens this console with a login. Or log in with the token that `portbook token` prints."
            }
            Code::NotFound if self.detail.is_some() => {
                "Check the address. Ended leases and old requests are deleted from the record after a while."
            }
            code => code.help(),
        }
    }

    /// Whether logging in would help now.
    fn wants_login(&self) -> bool {
        self.detail.is_some() && self.code == Code::Unauthorized
    }

    fn others(&self) -> impl Iterator<Item = &'static Code> {
        Code::ALL.iter().filter(|other| **other != self.code)
    }
}

/// Shows the page of an error.
pub(super) async fn show(word: Path<String>, frame: Frame) -> Result<Page<ErrorPage>, PageError> {
    let code = Code::parse(&word)
        .ok_or_else(|| Problem::new(Code::NotFound, "there is no error with this code"))?;
    Ok(Page(ErrorPage::of(code, frame)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_error_has_a_page() {
        for code in Code::ALL {
            let page = ErrorPage::of(*code, Frame::default()).render().unwrap();
            assert!(page.contains(code.as_str()) && page.contains(code.title()));
            assert!(!page.contains('`'), "{page}");
        }
    }

    #[test]
    fn failed_request_is_answered_for_its_reader() {
        let detail = "this code was used already";
        let page = ErrorPage::of_problem(&Problem::new(Code::Unauthorized, detail));
        let page = page.render().unwrap();
        assert!(page.contains("portbook dashboard") && page.contains(detail));
        for part in ["Authorization", "Exit code", "Other errors"] {
            assert!(!page.contains(part), "{part}: {page}");
        }
        let general = ErrorPage::of(Code::Unauthorized, Frame::default());
        assert!(general.render().unwrap().contains("Exit code"));
    }

    #[test]
    fn unknown_codes_are_not_found() {
        let answer = show(Path::from("<script>".to_owned()), Frame::default());
        let answer = futures_util::FutureExt::now_or_never(answer).unwrap();
        let status = actix_web::ResponseError::status_code(&answer.unwrap_err());
        assert_eq!(status, 404);
    }
}
