//! From method and path to a route.

use super::handler::Handler;
use crate::error::{Error, ErrorKind, Result};
use crate::executor::job::Handled;
use http::{HeaderValue, Method};
use percent_encoding::percent_decode_str;
use std::sync::Arc;

/// One handler with its name and account.
pub(super) struct Route {
    pub(super) handler: Handler,
    pub(super) handled: Arc<Handled>,
}

struct Path {
    /// By method; `None` stands for any.
    methods: Vec<(Option<Method>, Arc<Route>)>,
    allow: HeaderValue,
}

#[derive(Default)]
pub(super) struct Router {
    tree: matchit::Router<usize>,
    patterns: Vec<String>,
    paths: Vec<Path>,
}

/// Where a request goes.
pub(super) enum Found<'a> {
    Route(&'a Arc<Route>, Vec<(String, String)>),
    Nothing,
    /// The path is known, the method is not; the value of `Allow`.
    WrongMethod(&'a HeaderValue),
    /// A part of the path does not decode to UTF-8.
    BadPath,
}

impl Router {
    /// Adds a route; `None` for any method.
    pub(super) fn add(
        &mut self,
        method: Option<Method>,
        pattern: &str,
        handler: Handler,
    ) -> Result<()> {
        let at = match self.patterns.iter().position(|known| known == pattern) {
            Some(at) => at,
            None => {
                self.tree.insert(pattern, self.paths.len()).map_err(|e| {
                    Error::new(ErrorKind::Config, format!("route {pattern:?}: {e}"))
                })?;
                self.patterns.push(pattern.to_owned());
                self.paths.push(Path { methods: Vec::new(), allow: HeaderValue::from_static("") });
                self.paths.len() - 1
            }
        };
        let path = &mut self.paths[at];
        if path.methods.iter().any(|(known, _)| *known == method) {
            let method = method.map_or("any".to_owned(), |m| m.to_string());
            let message = format!("route {pattern:?}: {method} is there already");
            return Err(Error::new(ErrorKind::Config, message));
        }
        let name = match &method {
            Some(method) => format!("{method} {pattern}"),
            None => format!("any {pattern}"),
        };
        path.methods.push((method, Arc::new(Route { handler, handled: Handled::new(&name) })));
        path.allow = allow(&path.methods);
        Ok(())
    }

    pub(super) fn find(&self, method: &Method, path: &str) -> Found<'_> {
        let Ok(matched) = self.tree.at(path) else { return Found::Nothing };
        let path = &self.paths[*matched.value];
        let Some(route) = path.route(method) else { return Found::WrongMethod(&path.allow) };
        let mut params = Vec::with_capacity(matched.params.len());
        for (name, value) in matched.params.iter() {
            match percent_decode_str(value).decode_utf8() {
                Ok(value) => params.push((name.to_owned(), value.into_owned())),
                Err(_) => return Found::BadPath,
            }
        }
        Found::Route(route, params)
    }
}

impl Path {
    /// The route of a method; HEAD falls back to GET, whose body is then not sent.
    fn route(&self, method: &Method) -> Option<&Arc<Route>> {
        let exact = |wanted: &Method| {
            let mut all = self.methods.iter();
            all.find(|(known, _)| known.as_ref() == Some(wanted)).map(|(_, route)| route)
        };
        let head = || if *method == Method::HEAD { exact(&Method::GET) } else { None };
        let any = || self.methods.iter().find(|(known, _)| known.is_none()).map(|(_, r)| r);
        exact(method).or_else(head).or_else(any)
    }
}

fn allow(methods: &[(Option<Method>, Arc<Route>)]) -> HeaderValue {
    let mut names: Vec<&str> =
        methods.iter().filter_map(|(method, _)| method.as_ref().map(Method::as_str)).collect();
    if names.contains(&"GET") && !names.contains(&"HEAD") {
        names.push("HEAD");
    }
    // Method names are tokens, so this cannot fail; an empty Allow would still be a valid answer.
    HeaderValue::from_str(&names.join(", ")).unwrap_or(HeaderValue::from_static(""))
}
