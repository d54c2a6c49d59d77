{{/* The pod's volumes. */}}
{{- define "claviger.volumes" -}}
# Temporary files (SQLite makes some): the root file system is read-only.
- name: tmp
  emptyDir: {}
{{- if eq .Values.database.mode "postgres" }}
# Nothing that has to last; with SQLite it is the StatefulSet's claim.
- name: data
  emptyDir: {}
{{- end }}
{{- with include "claviger.secrets" . | trim }}
- name: secrets
  projected:
    # Readable through fsGroup: the files belong to root.
    defaultMode: 0440
    sources:
      {{- . | nindent 6 }}
{{- end }}
{{- if .Values.tls.existingSecret }}
{{ include "claviger.tlsVolume" . }}
{{- end }}
{{- if .Values.database.migration.existingSecret }}
# Not among the others: the container that serves doesn't get it.
- name: migration
  projected:
    defaultMode: 0440
    sources:
      {{- include "claviger.secretFile" (dict "from" .Values.database.migration "file" "database-url") | nindent 6 }}
{{- end }}
{{- with .Values.extraVolumes }}
{{ toYaml . }}
{{- end }}
{{- end -}}

{{/* Certificates. Mounted as a folder, never file by file: only so a renewed Secret reaches a running pod. */}}
{{- define "claviger.tlsVolume" -}}
- name: tls
  projected:
    defaultMode: 0440
    sources:
      - secret:
          name: {{ .Values.tls.existingSecret }}
          items:
            - key: tls.crt
              path: tls.crt
            - key: tls.key
              path: tls.key
      {{- with .Values.tls.clientCertificateAuthority }}
      {{- if .existingSecret }}
      {{- include "claviger.secretFile" (dict "from" . "file" "client-ca.crt") | nindent 6 }}
      {{- end }}
      {{- end }}
{{- end -}}

{{/* The Secrets that become files in /secrets; empty when there is none. */}}
{{- define "claviger.secrets" -}}
{{- $values := .Values -}}
{{- $files := dict
  "database-password" $values.database.password
  "database-ca.crt" $values.database.certificateAuthority
  "pepper" $values.pepper
  "kek" $values.kek
  "root-key" $values.rootKey
  "smtp-url" $values.mail
  "smtp-password" $values.mail.password
  "smtp-ca.crt" $values.mail.certificateAuthority
  "otlp-ca.crt" $values.otel.certificateAuthority -}}
{{- if eq $values.database.mode "postgres" -}}
{{- $_ := set $files "database-url" $values.database -}}
{{- end -}}
{{- range $file, $from := $files }}
{{- if $from.existingSecret }}
{{ include "claviger.secretFile" (dict "from" $from "file" $file) }}
{{- end }}
{{- end }}
{{- end -}}

{{- define "claviger.secretFile" -}}
- secret:
    name: {{ .from.existingSecret }}
    items:
      - key: {{ .from.secretKey }}
        path: {{ .file }}
{{- end -}}
