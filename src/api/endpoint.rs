//! One path with its methods, which also say which methods there are.

use actix_web::http::Method;
use actix_web::{FromRequest, Handler, Resource, Responder, Route, guard, web};

use super::resource;

/// A resource under construction.
pub(super) struct Endpoint {
    path: &'static str,
    methods: Vec<Method>,
    routes: Vec<Route>,
}

impl Endpoint {
    pub(super) const fn at(path: &'static str) -> Self {
        Self {
            path,
            methods: Vec::new(),
            routes: Vec::new(),
        }
    }

    /// Where it is.
    #[cfg(test)]
    pub(super) const fn path(&self) -> &'static str {
        self.path
    }

    /// What it answers to, HEAD beside GET.
    #[cfg(test)]
    pub(super) fn methods(&self) -> &[Method] {
        &self.methods
    }

    /// A handler for GET, and for HEAD, which is GET without the body (RFC 9110, 9.3.2).
    pub(super) fn get<F, Args>(mut self, handler: F) -> Self
    where
        F: Handler<Args>,
        Args: FromRequest + 'static,
        F::Output: Responder + 'static,
    {
        let reading = guard::Any(guard::Get()).or(guard::Head());
        self.methods.extend([Method::GET, Method::HEAD]);
        self.routes.push(web::route().guard(reading).to(handler));
        self
    }

    pub(super) fn post<F, Args>(self, handler: F) -> Self
    where
        F: Handler<Args>,
        Args: FromRequest + 'static,
        F::Output: Responder + 'static,
    {
        self.route(Method::POST, handler)
    }

    pub(super) fn delete<F, Args>(self, handler: F) -> Self
    where
        F: Handler<Args>,
        Args: FromRequest + 'static,
        F::Output: Responder + 'static,
    {
        self.route(Method::DELETE, handler)
    }

    /// A handler for any other method.
    pub(super) fn route<F, Args>(mut self, method: Method, handler: F) -> Self
    where
        F: Handler<Args>,
        Args: FromRequest + 'static,
        F::Output: Responder + 'static,
    {
        self.routes.push(web::method(method.clone()).to(handler));
        self.methods.push(method);
        self
    }

    /// The resource; it refuses every other method.
    pub(super) fn resource(self) -> Resource {
        let words: Vec<&str> = self.methods.iter().map(Method::as_str).collect();
        let resource = resource(self.path, &words.join(", "));
        self.routes.into_iter().fold(resource, Resource::route)
    }
}
