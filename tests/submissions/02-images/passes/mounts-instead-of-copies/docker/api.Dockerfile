# Packages below a folder of their own, with the list of packages mounted instead of copied, and a cache for pip.
FROM compose-course/base:1 AS development
ENV PYTHONPATH=/packages
WORKDIR /srv
RUN --mount=type=bind,source=requirements.txt,target=/requirements.txt \
    --mount=type=cache,target=/root/.cache/pip \
    pip install --target /packages -r /requirements.txt
COPY --link . .
RUN pip install -r requirements-dev.txt

FROM python:3.11-slim AS production
ENV PYTHONPATH=/packages
COPY --link --from=development /packages /packages
COPY --link app /srv/app
WORKDIR /srv
ARG APP_VERSION
RUN test -n "$APP_VERSION"
ENV APP_VERSION=$APP_VERSION
USER nobody
CMD ["python", "-u", "app/main.py"]
