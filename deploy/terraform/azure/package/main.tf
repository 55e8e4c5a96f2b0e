# Puts the publisher's settings beside the function's files and zips them. A pipeline that makes the package its own way does without this module.

variable "files" {
  description = "Folder with the function's own files: host.json, the handler and a folder for each function, as `unzip dist/kube-iam-assume-azure.zip` leaves them."
  type        = string
  nullable    = false

  validation {
    condition     = fileexists("${var.files}/host.json") && fileexists("${var.files}/handler")
    error_message = "The folder ${jsonencode(var.files)} has no host.json or no handler: build the package with `make dist`, and unzip it there."
  }
}

variable "settings" {
  description = "The publisher's settings by file name: output settings of module azure."
  type        = map(string)
  nullable    = false

  validation {
    condition     = contains(keys(var.settings), "publisher.yaml")
    error_message = "The settings have no publisher.yaml: give the output settings of module azure."
  }
}

variable "build" {
  description = "Folder to work in. It is this module's own."
  type        = string
  default     = ".kube-iam-assume/azure"
  nullable    = false
}

locals {
  files  = toset([for file in fileset(var.files, "**") : file if !contains(keys(var.settings), file) && !startswith(file, "clusters/")])
  folder = "${var.build}/${substr(local.digest, 0, 16)}"
  path   = "${var.build}/kube-iam-assume-azure-${substr(local.digest, 0, 16)}.zip"

  # Names change with the content: a deploy looks at the package's name alone, and a copied file at its source's name alone.
  digest = sha256(jsonencode([var.settings, { for file in local.files : file => filesha256("${var.files}/${file}") }]))
}

resource "local_file" "function" {
  for_each = local.files

  source          = "${var.files}/${each.value}"
  filename        = "${local.folder}/${each.value}"
  file_permission = "0755"
}

resource "local_file" "settings" {
  for_each = var.settings

  content         = each.value
  filename        = "${local.folder}/${each.key}"
  file_permission = "0644"
}

data "archive_file" "package" {
  type             = "zip"
  source_dir       = local.folder
  output_path      = local.path
  output_file_mode = "0755"

  depends_on = [local_file.function, local_file.settings]
}

output "path" {
  description = "Path of the package."
  value       = local.path # which a plan knows, as it does not the archive's own

  depends_on = [data.archive_file.package]
}
