#!/bin/sh
# /etc/nginx/templates/NAME.template -> /etc/nginx/conf.d/NAME, with ${VARIABLES} of the environment filled in. Only
# variables that are set are replaced: nginx has its own $host and $uri. NGINX_ENVSUBST_TEMPLATE_DIR, _TEMPLATE_SUFFIX,
# _OUTPUT_DIR and _FILTER (a regular expression of names) are the original's.
set -e

templates="${NGINX_ENVSUBST_TEMPLATE_DIR:-/etc/nginx/templates}"
suffix="${NGINX_ENVSUBST_TEMPLATE_SUFFIX:-.template}"
output="${NGINX_ENVSUBST_OUTPUT_DIR:-/etc/nginx/conf.d}"

[ -d "$templates" ] || exit 0
if [ ! -w "$output" ]; then
  echo "$0: ERROR: $templates exists, but $output is not writable" >&2
  exit 0
fi

names="$(env | sed -n 's/^\([A-Za-z_][A-Za-z0-9_]*\)=.*/\1/p' | grep -E "${NGINX_ENVSUBST_FILTER:-.}" || true)"
variables="$(printf '${%s} ' $names)"

find "$templates" -follow -type f -name "*$suffix" | while read -r template; do
  name="${template#"$templates"/}"
  target="$output/${name%"$suffix"}"
  mkdir -p "$(dirname "$target")"
  echo "$0: $template -> $target"
  envsubst "$variables" < "$template" > "$target"
done
