locals {
  alarms = {
    Refused = { says = "a snapshot of an enrolled cluster was refused", events = ["snapshot.refused"] }
    Stale   = { says = "a cluster has not been heard for 30 minutes", events = ["cluster.stale"] }
    Fork    = { says = "two snapshots have one number: two exporters share a key, or it was stolen", events = ["fork.detected"] }
    NewKey  = { says = "a new key is published: was this rotation yours?", events = ["key.added", "key.announced", "keys.replaced", "cluster.reenrolled"] }
    Repaired = { says = "somebody else wrote a document, or the world sees another", events = [
      "document.repaired", "document.contested", "readback.differs", "readback.failed", "target.failed",
    ] }
    Lost = { says = "the state or the log is not what it should be; nothing is published until somebody looks", events = ["state.lost", "log.conflict", "reconcile.failed", "settings.invalid", "deploy.failed"] }
    Attention = { says = "settings and clusters disagree", events = [
      "retirement.blocked", "revoked.listed", "generation.old", "cluster.missing", "enrollment.ignored", "clock.unsure", "key.lapsed",
      "target.incomplete", "target.disabled",
    ] }

    # While a key comes or goes publishers differ, for less than this time.
    Mirror = { says = "another publisher of an issuer has had other documents for 15 minutes", events = ["mirror.differs", "mirror.failed"], periods = 3 }
  }
}

output "alarms" {
  description = "Alarms that are made of the function's log events, the same on every cloud: what each says, the events that ring it, and in how many periods of five minutes, one after the other. What to do about each is in docs/aws.md, under the anchor of its name."
  value       = { for name, alarm in local.alarms : name => merge({ periods = 1 }, alarm) if name != "Mirror" || var.mirrored }
}
