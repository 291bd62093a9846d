//! The part of URLs that a load generator needs: `http://HOST[:PORT][/PATH]`.

/// Where requests go.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Url {
    /// Name or address of the server, without the brackets of IPv6.
    pub(crate) host: String,
    /// Port of the server.
    pub(crate) port: u16,
    /// What the `host` field of a request says.
    pub(crate) authority: String,
    /// The path without slashes at its end: empty, or beginning with one.
    pub(crate) path: String,
}

impl Url {
    /// Reads a URL; the error is a fragment that says what is wrong with it.
    pub(crate) fn parse(text: &str) -> Result<Url, String> {
        let rest = text
            .strip_prefix("http://")
            .ok_or_else(|| format!("url {text:?} does not begin with http://"))?;
        if rest.contains(|c: char| c.is_whitespace() || c.is_control() || "?#@\\".contains(c)) {
            return Err(format!("url {text:?} is more than http://HOST:PORT/PATH"));
        }
        let (authority, path) = rest.split_at(rest.find('/').unwrap_or(rest.len()));
        let (host, port) = match authority.strip_prefix('[').map(|rest| rest.split_once(']')) {
            Some(None) => return Err(format!("url {text:?} has a bracket that never closes")),
            Some(Some((host, ""))) => (host, None),
            Some(Some((host, after))) => {
                let port = after.strip_prefix(':');
                (host, Some(port.ok_or_else(|| format!("url {text:?} has no port after ]"))?))
            }
            None => match authority.split_once(':') {
                Some((host, port)) => (host, Some(port)),
                None => (authority, None),
            },
        };
        if host.is_empty() {
            return Err(format!("url {text:?} has no host"));
        }
        let port = match port {
            None => 80,
            Some(port) if !port.starts_with('+') => {
                { port.parse().ok().filter(|port| *port != 0).ok_or(port) }
                    .map_err(|port| format!("url {text:?}: port {port:?} is not from 1 to 65535"))?
            }
            Some(_) => return Err(format!("url {text:?} has a port with a sign")),
        };
        Ok(Url {
            host: host.to_owned(),
            port,
            authority: authority.to_owned(),
            path: path.trim_end_matches('/').to_owned(),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Checks the host, port and path of a URL.
    #[track_caller]
    fn check(text: &str, host: &str, port: u16, path: &str) {
        let url = Url::parse(text).unwrap();
        assert_eq!((url.host.as_str(), url.port, url.path.as_str()), (host, port, path));
        assert!(text.contains(&url.authority));
    }

    #[test]
    fn good_urls() {
        check("http://127.0.0.1:8888", "127.0.0.1", 8888, "");
        check("http://127.0.0.1:8888/", "127.0.0.1", 8888, "");
        check("http://127.0.0.1:8888/10000", "127.0.0.1", 8888, "/10000");
        check("http://localhost/a/b/", "localhost", 80, "/a/b");
        check("http://[::1]:8888/x", "::1", 8888, "/x");
        check("http://[::1]", "::1", 80, "");
    }

    #[test]
    fn bad_urls() {
        for text in [
            "",
            "127.0.0.1:8888",
            "https://a",
            "http://",
            "http://:80",
            "http:///x",
            "http://a:0",
            "http://a:65536",
            "http://a:+80",
            "http://a:",
            "http://a:b",
            "http://a/?q",
            "http://a#b",
            "http://u@a",
            "http://[::1",
            "http://[::1]80",
            "http://a b",
            "http://a\n",
        ] {
            assert!(Url::parse(text).is_err(), "{text}");
        }
    }
}
