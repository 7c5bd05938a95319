{{/* The name of everything that the chart makes in its namespace. */}}
{{- define "turnpike.name" -}}
{{- if eq .Release.Name "turnpike" -}}
turnpike-operator
{{- else -}}
{{- printf "%s-turnpike-operator" (trunc 40 .Release.Name | trimSuffix "-") -}}
{{- end -}}
{{- end -}}

{{/* The name of what has no namespace: two releases of one name must not share it. */}}
{{- define "turnpike.clusterName" -}}
{{- printf "%s-%s" (trunc 40 .Release.Namespace | trimSuffix "-") (include "turnpike.name" .) -}}
{{- end -}}

{{- define "turnpike.selector" -}}
app.kubernetes.io/name: turnpike-operator
app.kubernetes.io/instance: {{ .Release.Name }}
{{- end -}}

{{- define "turnpike.labels" -}}
{{ include "turnpike.selector" . }}
app.kubernetes.io/component: operator
app.kubernetes.io/part-of: turnpike
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
helm.sh/chart: {{ printf "%s-%s" .Chart.Name .Chart.Version | replace "+" "_" }}
{{- end -}}

{{/* An image, of a map with repository and tag, and the tag to use when there is none. */}}
{{- define "turnpike.image" -}}
{{- printf "%s:%s" .image.repository (default .appVersion .image.tag) -}}
{{- end -}}

{{/* As few rights as a process can have. */}}
{{- define "turnpike.podSecurity" -}}
runAsNonRoot: true
runAsUser: 65532
runAsGroup: 65532
seccompProfile: {type: RuntimeDefault}
{{- end -}}
{{- define "turnpike.containerSecurity" -}}
allowPrivilegeEscalation: false
readOnlyRootFilesystem: true
capabilities: {drop: [ALL]}
{{- end -}}
