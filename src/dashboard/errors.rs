//! `/errors/{code}`: what an error means and what to do about it, from the one table of errors.

use actix_web::http::StatusCode;
use actix_web::web::Path;
use askama::Template;

use super::format::{Piece, pieces};
use super::frame::Frame;
use super::page::{Page, PageError};
use crate::api::problem::{Code, Problem};
use crate::domain::attempt::printable;

/// The page of one error.
#[derive(Debug, Template)]
#[template(path = "error_page.html")]
pub(super) struct ErrorPage {
    frame: Frame,
    /// What it was this time; anybody's text.
    detail: Option<String>,
    code: &'static str,
    title: &'static str,
    help: Vec<Piece<'static>>,
    status: u16,
    reason: &'static str,
    exit_code: u8,
    others: Vec<Other>,
    /// Whether it has just been met, so that there is something to do about it now.
    is_met: bool,
    /// Where the overview is, where it is not at `/`.
    home: Option<String>,
}

/// A way to another error's page.
#[derive(Debug)]
struct Other {
    code: &'static str,
    title: &'static str,
}

impl ErrorPage {
    fn of(code: Code) -> Self {
        let status = StatusCode::from_u16(code.status()).ok();
        let others = Code::ALL.iter().filter(|other| **other != code);
        Self {
            frame: Frame::default(),
            detail: None,
            code: code.as_str(),
            title: code.title(),
            help: pieces(code.help()),
            status: code.status(),
            reason: status
                .and_then(|status| status.canonical_reason())
                .unwrap_or_default(),
            exit_code: code.exit_code(),
            others: others
                .map(|other| Other {
                    code: other.as_str(),
                    title: other.title(),
                })
                .collect(),
            is_met: false,
            home: None,
        }
    }

    /// The page of a problem that has just been met.
    pub(super) fn of_problem(problem: &Problem) -> Self {
        let code = Code::parse(&problem.code).unwrap_or(Code::InvalidRequest);
        Self {
            detail: Some(printable(&problem.detail)),
            is_met: true,
            ..Self::of(code)
        }
    }

    /// The same in the reader's own frame.
    pub(super) fn framed(self, frame: Frame, home: Option<String>) -> Self {
        Self {
            frame,
            home,
            ..self
        }
    }

    /// Whether a login would help.
    fn wants_login(&self) -> bool {
        self.is_met && self.code == Code::Unauthorized.as_str()
    }
}

/// Shows the page of an error.
pub(super) async fn show(word: Path<String>, frame: Frame) -> Result<Page<ErrorPage>, PageError> {
    let code = Code::parse(&word)
        .ok_or_else(|| Problem::new(Code::NotFound, "there is no error of this code"))?;
    Ok(Page(ErrorPage {
        frame,
        ..ErrorPage::of(code)
    }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_error_has_a_page() {
        for code in Code::ALL {
            let page = ErrorPage::of(*code).render().unwrap();
            assert!(page.contains(code.as_str()) && page.contains(code.title()));
            assert!(!page.contains('`'), "{page}");
        }
    }

    #[test]
    fn no_other_word_has_one() {
        let answer = show(Path::from("<script>".to_owned()), Frame::default());
        let answer = futures_util::FutureExt::now_or_never(answer).unwrap();
        let status = actix_web::ResponseError::status_code(&answer.unwrap_err());
        assert_eq!(status, 404);
    }
}
