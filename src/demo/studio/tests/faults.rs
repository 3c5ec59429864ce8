//! Every fault that can be ordered does what its name says; no order may outlive its test.

use super::*;

#[tokio::test]
async fn an_ordered_refusal_strikes_once_or_until_cleared() {
    let scene = Scene::new().await;
    scene.studio.next(Fault::Throttled);
    assert_eq!(scene.mint(KEY, "").await.1["code"], "Throttling.RateQuota");
    assert_eq!(scene.mint(KEY, "").await.0, StatusCode::OK);
    scene.studio.always(Fault::PrepaidBillOverdue);
    for _ in 0..3 {
        let (status, answer) = scene.mint(KEY, "").await;
        assert_eq!((status, &answer["code"]), (StatusCode::TOO_MANY_REQUESTS, &json!("PrepaidBillOverdue")));
    }
    scene.studio.clear();
    assert_eq!(scene.mint(KEY, "").await.0, StatusCode::OK);
    assert_eq!((scene.studio.faults(), scene.studio.mints()), (4, 2));
}

#[tokio::test]
async fn every_refusal_has_its_documented_status_and_code() {
    let scene = Scene::new().await;
    let refusals = [
        (Fault::Arrearage, 400, "Arrearage"),
        (Fault::BadKey, 401, "InvalidApiKey"),
        (Fault::Denied, 403, "AccessDenied"),
        (Fault::CodeInOk, 200, "InternalError.Algo"),
        (Fault::InternalError, 500, "InternalError"),
        (Fault::SystemError, 500, "SystemError"),
    ];
    for (fault, status, code) in refusals {
        scene.studio.next(fault);
        let (seen, answer) = scene.mint(KEY, "").await;
        assert_eq!((seen.as_u16(), &answer["code"]), (status, &json!(code)));
    }
}

#[tokio::test]
async fn an_order_for_one_key_leaves_others_alone_and_follows_its_tokens() {
    let scene = Scene::new().await;
    scene.studio.register("sk-another");
    let token = scene.token().await;
    scene.studio.always_for(KEY, Fault::Denied);
    assert_eq!(scene.mint("sk-another", "").await.0, StatusCode::OK);
    assert_eq!(scene.mint(KEY, "").await.0, StatusCode::FORBIDDEN);
    assert_eq!(scene.chat(&token).await.0, StatusCode::FORBIDDEN);
}

#[tokio::test]
async fn a_mint_can_lie_about_its_expiry_and_a_use_does_not_spend_that_order() {
    let scene = Scene::new().await;
    scene.studio.next(Fault::NoExpiry);
    assert_eq!(scene.chat(KEY).await.0, StatusCode::OK);
    assert_eq!(scene.studio.waiting_faults(), 1);
    assert!(scene.mint(KEY, "").await.1.get("expires_at").is_none());
    scene.studio.next(Fault::ZeroExpiry);
    assert_eq!(scene.mint(KEY, "").await.1["expires_at"], 0);
    for seconds in [0, 5, 86_400] {
        scene.studio.next(Fault::ExpiresIn(seconds));
        assert_eq!(scene.mint(KEY, "").await.1["expires_at"], 1_744_080_000 + seconds);
    }
    scene.studio.next(Fault::StrangeToken);
    assert!(scene.mint(KEY, "").await.1["token"].as_str().unwrap().contains("\r\n"));
}

#[tokio::test]
async fn bodies_can_be_garbage_huge_cut_or_elsewhere() {
    let scene = Scene::new().await;
    let mint = || scene.call(post(MINT, KEY, Value::Null));
    scene.studio.next(Fault::Garbage);
    assert!(serde_json::from_str::<Value>(&mint().await.unwrap().1).is_err());
    scene.studio.next(Fault::Huge(3 << 20));
    assert!(mint().await.unwrap().1.len() > 3 << 20);
    scene.studio.next(Fault::Redirect);
    assert_eq!(mint().await.unwrap().0, StatusCode::FOUND);
    scene.studio.next(Fault::CutBody);
    assert!(mint().await.is_err());
    assert!(mint().await.is_ok());
}

#[tokio::test]
async fn connections_end_as_ordered() {
    let scene = Scene::new().await;
    for fault in [Fault::CloseOnRequest, Fault::ResetOnRequest, Fault::ResetOnAccept] {
        scene.studio.next(fault);
        assert!(scene.fails().await, "{fault:?}");
        assert!(!scene.fails().await, "after {fault:?}");
    }
    for fault in [Fault::Hang, Fault::HangOnAccept] {
        scene.studio.next(fault);
        assert!(timeout(SHORT, scene.fails()).await.is_err(), "{fault:?}");
    }
    assert!(!scene.fails().await);
}

#[tokio::test]
async fn a_reset_is_a_reset_and_not_a_polite_end() {
    let scene = Scene::with(|options| options.transport = Transport::Plain).await;
    scene.studio.next(Fault::ResetOnRequest);
    let error = scene.call(post(MINT, KEY, Value::Null)).await.unwrap_err();
    let reset = error.source().and_then(|source| source.downcast_ref::<io::Error>());
    assert_eq!(reset.map(io::Error::kind), Some(io::ErrorKind::ConnectionReset), "{error:?}");
}

#[tokio::test]
async fn slow_answers_are_slow_and_right() {
    let scene = Scene::new().await;
    for fault in [Fault::SlowHead(2 * SHORT), Fault::SlowBody(SHORT / 4)] {
        scene.studio.always(fault);
        assert!(timeout(SHORT, scene.mint(KEY, "")).await.is_err(), "{fault:?}");
        assert_eq!(scene.mint(KEY, "").await.0, StatusCode::OK, "{fault:?}");
        scene.studio.clear();
    }
}
