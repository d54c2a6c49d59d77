//! Whose address a request has: the connection's, unless proxies before Envoy are trusted.

use super::Scene;

async fn bound_key(scene: &mut Scene, network: &str) -> String {
    let networks = vec![network.to_owned()];
    scene.key(|request| request.key.as_mut().expect("a key").allowed_networks = networks).await.1
}

async fn status(scene: &Scene, secret: &str, forwarded_for: &[&str]) -> u16 {
    let credential = format!("x-api-key: {secret}");
    let forwarded: Vec<String> = forwarded_for.iter().map(|value| format!("x-forwarded-for: {value}")).collect();
    let headers: Vec<&str> = forwarded.iter().map(String::as_str).chain([credential.as_str()]).collect();
    scene.envoy.get("/reports", &headers).await.status
}

#[tokio::test(flavor = "multi_thread")]
async fn nobody_is_believed_about_an_address_unless_asked_for() {
    let Some(mut scene) = Scene::set().await else { return };
    let (here, there) = (bound_key(&mut scene, "127.0.0.1").await, bound_key(&mut scene, "192.0.2.1").await);
    for forged in [&[][..], &["192.0.2.1"], &["192.0.2.1, 192.0.2.1"], &["192.0.2.1", "192.0.2.1"]] {
        assert_eq!(status(&scene, &here, forged).await, 200, "{forged:?}");
        assert_eq!(status(&scene, &there, forged).await, 401, "{forged:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_trusted_proxy_is_believed_about_who_called_it_and_nobody_before() {
    let Some(mut scene) = Scene::set_with(&[("CLAVIGER_TRUSTED_HOPS", "1")], &[]).await else { return };
    let (here, there) = (bound_key(&mut scene, "127.0.0.1").await, bound_key(&mut scene, "192.0.2.1").await);
    for (forwarded_for, from_here, from_there) in [
        (&["192.0.2.1"][..], 401, 200),
        (&["6.6.6.6, 192.0.2.1"], 401, 200),
        (&["6.6.6.6", "192.0.2.1"], 401, 200),
        (&["192.0.2.1, 6.6.6.6"], 401, 401),
        (&["192.0.2.1", "6.6.6.6"], 401, 401),
        (&["nonsense"], 401, 401),
        (&[], 401, 401),
    ] {
        assert_eq!(status(&scene, &there, forwarded_for).await, from_there, "{forwarded_for:?}");
        assert_eq!(status(&scene, &here, forwarded_for).await, from_here, "{forwarded_for:?}");
    }
}
