# Reads clusters/*.yaml for every cloud alike, and says what follows from them: issuers, names of objects, the publisher's settings, subjects. It has
# no provider, so that all of it can be tested anywhere.

locals {
  files  = fileset(var.directory, "**")
  misfit = sort([for file in local.files : file if !can(regex("^[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?\\.yaml$", file))])

  texts  = { for file in setsubtract(local.files, local.misfit) : trimsuffix(file, ".yaml") => file("${var.directory}/${file}") }
  parsed = { for id, text in local.texts : id => try(yamldecode(text), null) }

  fields   = ["apiVersion", "kind", "id", "generation", "exporterServiceAccount", "bootstrapKeys", "snapshotKeys", "announcedKeys", "revokedKeys", "removed", "keyIDs"]
  keysets  = ["bootstrapKeys", "snapshotKeys", "announcedKeys"]
  public   = ["kty", "kid", "use", "alg", "n", "e", "crv", "x", "y"]
  lists    = { for id, file in local.parsed : id => { for set in local.keysets : set => try(tolist(file[set].keys), [for key in file[set].keys : key], []) } }
  all_keys = { for id, sets in local.lists : id => flatten([for set, keys in sets : [for key in keys : key]]) }

  # What is wrong with each file, in words for the person who edits it. The publisher judges the same files again, and more strictly, when it starts;
  # what is found here is found before anything is deployed.
  wrong = { for id, file in local.parsed : id => compact(concat(
    can(keys(file)) ? [] : ["not YAML, or not a mapping: write the file that `kube-iam-assume enroll ${id}` prints"],
    can(keys(file)) ? [for field in setsubtract(keys(file), local.fields) : "unknown field ${jsonencode(field)}: known are ${join(", ", local.fields)}"] : [],
    !can(keys(file)) ? [] : [
      try(file.apiVersion, null) == "config.kube-iam-assume.dev/v1alpha1" && try(file.kind, null) == "Cluster" ? "" : "want apiVersion: config.kube-iam-assume.dev/v1alpha1 and kind: Cluster",
      try(file.id, null) == id ? "" : "id is ${jsonencode(try(file.id, null))}: the file's name and the id must agree",
      can(regex("^[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?/[a-z0-9]([-.a-z0-9]{0,251}[a-z0-9])?$", file.exporterServiceAccount)) ? "" : "exporterServiceAccount must be namespace/name",
      length(local.lists[id].bootstrapKeys) + length(local.lists[id].snapshotKeys) > 0 ? "" : "no bootstrapKeys: `kube-iam-assume enroll ${id}` prints them",
      try(file.generation, 1) == null ? "" : try(floor(file.generation) == file.generation && file.generation >= 1, !can(file.generation)) ? "" : "generation must be 1, and one more for every re-enrollment",
      try(contains([true, false], file.removed), true) ? "" : "removed must be true or false",
      try(file.keyIDs, "external") == "external" ? "" : "keyIDs must be external, or not be there",
      alltrue([for key in local.all_keys[id] : try(length(setsubtract(keys(key), local.public)) == 0, false)]) ? "" : "a key has members other than ${join(", ", local.public)} (n and y in quotes, which YAML takes for no and yes otherwise): if it is a private key it has been written to a file, so rotate it and put the public key here",
      alltrue([for key in local.all_keys[id] : try(key.kid != "" && contains(["RSA", "EC"], key.kty), false)]) ? "" : "a key has no kid, or is neither RSA nor EC",
    ],
  )) }

  problems = concat(
    length(local.files) > 0 ? [] : ["no clusters in ${var.directory}: `kube-iam-assume enroll ID > ${var.directory}/ID.yaml` writes one"],
    [for file in local.misfit : "${file} is no cluster's file: every file there is CLUSTER-ID.yaml, the ID of lower-case letters, digits and inner hyphens, at most 63; move it elsewhere"],
    flatten([for id in sort(keys(local.wrong)) : [for problem in local.wrong[id] : "${id}.yaml: ${problem}"]]),
    [for id in sort(keys(local.parsed)) : "issuer ${var.issuer_base}/${id} has ${length("${var.issuer_base}/${id}")} characters, AWS takes 255: give a shorter host or cluster ID" if length("${var.issuer_base}/${id}") > 255],
    flatten([for account in sort(keys(var.service_accounts)) : [for id in var.service_accounts[account] : "service account ${account}: there is no cluster ${jsonencode(id)} in ${var.directory}" if id != "all" && !contains(keys(local.parsed), id)]]),
    var.private ? [for id in sort(keys(local.parsed)) : "issuer ${var.issuer_base}/${id} is private and has no Workload Identity provider: nobody could learn its keys" if !contains(keys(var.workload_identity_providers), id)] : [],
    [for id in sort(keys(var.workload_identity_providers)) : "workload_identity_providers: there is no cluster ${jsonencode(id)} in ${var.directory}" if !contains(keys(local.parsed), id)],
  )

  # Private names come from the whole URL, public ones from the path alone: a function reads this as the publisher does.
  clusters = { for id, file in local.parsed : id => {
    id     = id
    issuer = "${var.issuer_base}/${id}"
    host   = trimprefix("${var.issuer_base}/${id}", "https://")
    exporter = {
      namespace = try(split("/", file.exporterServiceAccount)[0], "")
      name      = try(split("/", file.exporterServiceAccount)[1], "")
      subject   = "system:serviceaccount:${replace(try(file.exporterServiceAccount, ""), "/", ":")}"
    }
    objects = {
      discovery = "${id}/.well-known/openid-configuration"
      jwks      = "${id}/openid/v1/jwks"
      state     = "state/${replace(replace(trimprefix("${var.issuer_base}/${id}", "https://"), "/", "!"), ":", "~")}.json"
      log       = "log/${replace(replace(trimprefix("${var.issuer_base}/${id}", "https://"), "/", "!"), ":", "~")}"
    }
    removed = try(file.removed, false) == true
    # Only the members that Google takes in an uploaded key set, and only keys that workloads' tokens may be signed with.
    jwks = jsonencode({ keys = [for key in concat(try(local.lists[id].bootstrapKeys, []), try(local.lists[id].announcedKeys, [])) : {
      for member in ["kty", "alg", "use", "kid", "n", "e", "x", "y", "crv"] : member => key[member] if can(key[member])
    } if !contains([for revoked in try(file.revokedKeys, []) : revoked], try(key.kid, ""))] })
  } }

  workloads = merge([for account, ids in var.service_accounts : {
    for id in(contains(ids, "all") ? keys(local.parsed) : ids) : "${account}@${id}" => {
      account   = account
      namespace = split("/", account)[0]
      name      = split("/", account)[1]
      cluster   = id
      issuer    = "${var.issuer_base}/${id}"
      host      = trimprefix("${var.issuer_base}/${id}", "https://")
      subject   = "system:serviceaccount:${replace(account, "/", ":")}"
    }
  }]...)

  publisher = yamlencode({
    apiVersion = "config.kube-iam-assume.dev/v1alpha1"
    kind       = "Publisher"
    name       = var.publisher
    issuers = [for id in sort(keys(local.clusters)) : merge(
      { url = local.clusters[id].issuer, path = id, clusters = [id], retention = var.retention },
      length(var.mirrors) == 0 ? {} : { mirrors = [for mirror in var.mirrors : "${mirror}/${id}"] },
      var.served_at == null ? {} : { servedAt = "${var.served_at}/${id}" },
      var.private ? { private = true } : {},
      contains(keys(var.workload_identity_providers), id) ? { workloadIdentityProvider = var.workload_identity_providers[id] } : {},
    )]
    clusters = { directory = "clusters/" }
  })
}
