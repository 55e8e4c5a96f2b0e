{{/* The exporter's name: that of its service account, and of all it owns. */}}
{{- define "exporter.name" -}}
{{- last (splitList "/" .Values.serviceAccount) -}}
{{- end -}}

{{/* An exporter that runs as another account than the enrolled one is believed by nobody, which shows late. */}}
{{- define "exporter.checkNamespace" -}}
{{- $enrolled := first (splitList "/" .Values.serviceAccount) -}}
{{- if ne $enrolled .Release.Namespace -}}
{{- fail (printf "serviceAccount is %s, but the release goes to namespace %s. Install it with --namespace %s --create-namespace; or set serviceAccount to %s/%s, and exporterServiceAccount in the cluster's file at every publisher to the same." .Values.serviceAccount .Release.Namespace $enrolled .Release.Namespace (include "exporter.name" .)) -}}
{{- end -}}
{{- end -}}

{{/* Here and not in the schema, whose refusals repeat the value. */}}
{{- define "exporter.checkProxy" -}}
{{- if contains "@" .Values.proxy -}}
{{- fail "proxy: a URL with a user or password belongs into a Secret: name its key in proxySecret." -}}
{{- end -}}
{{- end -}}

{{/* What selects a workload's pods; never changes. Arguments: root, component. */}}
{{- define "selector" -}}
app.kubernetes.io/name: {{ .component }}
app.kubernetes.io/instance: {{ .root.Release.Name }}
{{- end -}}

{{- define "labels" -}}
{{ include "selector" . }}
app.kubernetes.io/part-of: kube-iam-assume
app.kubernetes.io/version: {{ .root.Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .root.Release.Service }}
helm.sh/chart: {{ printf "%s-%s" .root.Chart.Name .root.Chart.Version | replace "+" "_" }}
{{- end -}}

{{/* An image by digest, or by tag. Arguments: root, image. */}}
{{- define "image" -}}
{{- if .image.digest -}}
{{ .image.repository }}@{{ .image.digest }}
{{- else -}}
{{ .image.repository }}:{{ .image.tag | default .root.Chart.AppVersion }}
{{- end -}}
{{- end -}}

{{/* OpenShift gives every namespace its own user IDs, and refuses others. */}}
{{- define "podSecurityContext" -}}
runAsNonRoot: true
{{- if not (.Capabilities.APIVersions.Has "security.openshift.io/v1") }}
runAsUser: 65532
runAsGroup: 65532
fsGroup: 65532
{{- end }}
seccompProfile: {type: RuntimeDefault}
{{- end -}}

{{- define "containerSecurityContext" -}}
allowPrivilegeEscalation: false
readOnlyRootFilesystem: true
capabilities: {drop: [ALL]}
{{- end -}}

{{/* Where pods may go. Argument: the workload's values. */}}
{{- define "scheduling" -}}
{{- with .priorityClassName }}
priorityClassName: {{ . }}
{{- end }}
{{- with .nodeSelector }}
nodeSelector: {{- toYaml . | nindent 2 }}
{{- end }}
{{- with .tolerations }}
tolerations: {{- toYaml . | nindent 0 }}
{{- end }}
{{- end -}}

{{/* A projected source with further authorities, beside the settings. Arguments: bundle, configMap (which has an inline one). */}}
{{- define "caBundleSource" -}}
{{- if .bundle.configMap }}
- configMap: {name: {{ .bundle.configMap.name }}, items: [{key: {{ .bundle.configMap.key | quote }}, path: ca-bundle.crt}]}
{{- else if .bundle.secret }}
- secret: {name: {{ .bundle.secret.name }}, items: [{key: {{ .bundle.secret.key | quote }}, path: ca-bundle.crt}]}
{{- end }}
{{- end -}}

{{/* Whom a destination's token is for, or nothing. Argument: destination, kind. */}}
{{- define "exporter.audience" -}}
{{- with get .destination .kind -}}
{{- if eq $.kind "sqs" -}}sts.amazonaws.com
{{- else if eq $.kind "pubsub" -}}https://iam.googleapis.com/{{ .provider }}
{{- else if contains ".usgovcloudapi.net/" .url -}}api://AzureADTokenExchangeUSGov
{{- else if contains ".chinacloudapi.cn/" .url -}}api://AzureADTokenExchangeChina
{{- else -}}api://AzureADTokenExchange
{{- end -}}
{{- end -}}
{{- end -}}

{{/*
The tokens that the exporter logs in with at the clouds, as JSON: kind, audience and folder of each. One token has one audience; the first of a
kind is where the exporter looks by itself.
*/}}
{{- define "exporter.tokens" -}}
{{- $tokens := list -}}
{{- range $kind, $folder := dict "sqs" "sqs" "pubsub" "pubsub" "storageQueue" "storage-queue" -}}
{{- $audiences := list -}}
{{- range $.Values.destinations -}}
{{- with include "exporter.audience" (dict "destination" . "kind" $kind) -}}{{- $audiences = append $audiences . -}}{{- end -}}
{{- end -}}
{{- range $i, $audience := $audiences | uniq -}}
{{- $tokens = append $tokens (dict "kind" $kind "audience" $audience "folder" (ternary $folder (printf "%s-%d" $folder (add1 $i)) (eq $i 0)) "default" (eq $i 0)) -}}
{{- end -}}
{{- end -}}
{{- toJson $tokens -}}
{{- end -}}

{{/* The destinations, with the file of every token that is not where the exporter looks by itself. */}}
{{- define "exporter.destinations" -}}
{{- $tokens := include "exporter.tokens" . | fromJsonArray -}}
{{- $all := list -}}
{{- range .Values.destinations -}}
{{- $destination := deepCopy . -}}
{{- range $token := $tokens -}}
{{- if and (not $token.default) (eq $token.audience (include "exporter.audience" (dict "destination" $destination "kind" $token.kind))) -}}
{{- $_ := set (get $destination $token.kind) "tokenFile" (printf "/var/run/secrets/kube-iam-assume/%s/token" $token.folder) -}}
{{- end -}}
{{- end -}}
{{- $all = append $all $destination -}}
{{- end -}}
{{- toYaml $all -}}
{{- end -}}

{{/* exporter.yaml. */}}
{{- define "exporter.settings" -}}
apiVersion: config.kube-iam-assume.dev/v1alpha1
kind: Exporter
cluster: {{ .Values.cluster | quote }}
issuer: {{ .Values.issuer | quote }}
serviceAccount: {{ .Values.serviceAccount | quote }}
{{- with .Values.pollInterval }}
pollInterval: {{ . }}
{{- end }}
{{- with .Values.heartbeatInterval }}
heartbeatInterval: {{ . }}
{{- end }}
{{- with .Values.apiServers }}
apiServers: {{- toYaml . | nindent 2 }}
{{- end }}
{{- with .Values.proxy }}
proxy: {{ . | quote }}
{{- end }}
{{- if .Values.caBundle }}
caBundle: /etc/kube-iam-assume/ca-bundle.crt
{{- end }}
destinations: {{- include "exporter.destinations" . | nindent 0 }}
{{- end -}}

{{/* The port of a URL. */}}
{{- define "port" -}}
{{- $url := urlParse . -}}
{{- $port := regexFind ":[0-9]+$" $url.host | trimPrefix ":" -}}
{{- if $port -}}{{ $port }}{{- else if eq $url.scheme "http" -}}80{{- else if eq $url.scheme "socks5" -}}1080{{- else -}}443{{- end -}}
{{- end -}}

{{/* The ports that destinations are at, each once. */}}
{{- define "exporter.destinationPorts" -}}
{{- $ports := .Values.networkPolicy.destinationPorts -}}
{{- if .Values.proxy -}}
{{- $ports = append $ports (include "port" .Values.proxy | int) -}}
{{- end -}}
{{- range .Values.destinations -}}
{{- with .webhook -}}{{- $ports = append $ports (include "port" .url | int) -}}{{- end -}}
{{- with .sqs -}}{{- $ports = concat $ports (list (include "port" .url | int) 443) -}}{{- end -}}
{{- with .pubsub -}}{{- $ports = append $ports 443 -}}{{- end -}}
{{- with .storageQueue -}}{{- $ports = concat $ports (list (include "port" .url | int) 443) -}}{{- end -}}
{{- end -}}
{{- $numbers := list -}}
{{- range $ports -}}{{- $numbers = append $numbers (int .) -}}{{- end -}}
{{- toYaml ($numbers | uniq) -}}
{{- end -}}

{{/* publisher.yaml. */}}
{{- define "publisher.settings" -}}
apiVersion: config.kube-iam-assume.dev/v1alpha1
kind: Publisher
{{ toYaml .Values.publisher.settings }}
clusters: {directory: clusters/}
{{- end -}}

{{/* The hosts of the issuers' URLs, each once. */}}
{{- define "publisher.hosts" -}}
{{- $hosts := list -}}
{{- range .Values.publisher.settings.issuers -}}
{{- $hosts = append $hosts (regexReplaceAll ":[0-9]+$" (urlParse .url).host "") -}}
{{- end -}}
{{- toYaml ($hosts | uniq) -}}
{{- end -}}
