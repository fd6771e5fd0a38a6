//! Certificates of a throw-away authority.

use std::path::Path;
use std::process::Command;

/// A certificate and its key in `directory`, signed by the one named `issuer`, or by itself.
pub(crate) fn certificate(directory: &Path, name: &str, issuer: Option<&str>, extension: &str) {
    let file = |name: &str, end: &str| directory.join(format!("{name}.{end}")).into_os_string();
    let mut openssl = Command::new("openssl");
    openssl
        .args(["req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1"])
        .args(["-nodes", "-config", "/dev/null", "-subj", &format!("/CN={name}")])
        .args(["-addext", extension])
        .args(["-keyout".into(), file(name, "key"), "-out".into(), file(name, "pem")]);
    if let Some(issuer) = issuer {
        openssl.args(["-CA".into(), file(issuer, "pem"), "-CAkey".into(), file(issuer, "key")]);
    }
    let output = openssl.output().expect("this test needs Debian's package `openssl`");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
}
