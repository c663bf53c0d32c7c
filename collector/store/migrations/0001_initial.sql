-- All tables. Names are unqualified: the connection's search_path is the configured schema alone.
--
-- Tickers compare bytewise (COLLATE "C"): faster, and no upgrade of the system's locales can put
-- an index out of order.
--
-- The primary keys of the price tables cover the values (INCLUDE), so that a ticker's last bars are
-- read from neighbouring index pages: a year of daily appends scatters them over as many heap pages.
-- They need no other index: every statement asks by ticker, then by instant.
-- Rows are appended and almost never updated, so pages are filled; what an index-only scan needs is
-- a fresh visibility map, hence the eager vacuum after inserts.
--
-- In the checks "low > 0 and low <= … and high < infinity" also keeps NaN out: PostgreSQL sorts it
-- above infinity.

CREATE TABLE daily_prices (
    ticker text COLLATE "C" NOT NULL,
    date date NOT NULL,
    open double precision NOT NULL,
    high double precision NOT NULL,
    low double precision NOT NULL,
    close double precision NOT NULL,
    volume double precision NOT NULL,
    PRIMARY KEY (ticker, date) INCLUDE (open, high, low, close, volume),
    CONSTRAINT daily_prices_date CHECK (date >= '1900-01-01' AND isfinite(date)),
    CONSTRAINT daily_prices_bar CHECK (
        low > 0 AND low <= open AND low <= close
        AND high >= open AND high >= close AND high < 'infinity'
    ),
    CONSTRAINT daily_prices_volume CHECK (volume >= 0 AND volume < 'infinity')
) WITH (autovacuum_vacuum_insert_scale_factor = 0.02, autovacuum_analyze_scale_factor = 0.02);

CREATE TABLE weekly_prices (
    ticker text COLLATE "C" NOT NULL,
    date date NOT NULL,
    open double precision NOT NULL,
    high double precision NOT NULL,
    low double precision NOT NULL,
    close double precision NOT NULL,
    volume double precision NOT NULL,
    PRIMARY KEY (ticker, date) INCLUDE (open, high, low, close, volume),
    CONSTRAINT weekly_prices_date CHECK (
        date >= '1899-12-25' AND isfinite(date) AND extract(isodow FROM date) = 1
    ),
    CONSTRAINT weekly_prices_bar CHECK (
        low > 0 AND low <= open AND low <= close
        AND high >= open AND high >= close AND high < 'infinity'
    ),
    CONSTRAINT weekly_prices_volume CHECK (volume >= 0 AND volume < 'infinity')
) WITH (autovacuum_vacuum_insert_scale_factor = 0.02, autovacuum_analyze_scale_factor = 0.02);

CREATE TABLE hourly_prices (
    ticker text COLLATE "C" NOT NULL,
    ts timestamptz NOT NULL,
    open double precision NOT NULL,
    high double precision NOT NULL,
    low double precision NOT NULL,
    close double precision NOT NULL,
    volume double precision NOT NULL,
    PRIMARY KEY (ticker, ts) INCLUDE (open, high, low, close, volume),
    CONSTRAINT hourly_prices_ts CHECK (ts >= '1900-01-01 00:00:00+00' AND isfinite(ts)),
    CONSTRAINT hourly_prices_bar CHECK (
        low > 0 AND low <= open AND low <= close
        AND high >= open AND high >= close AND high < 'infinity'
    ),
    CONSTRAINT hourly_prices_volume CHECK (volume >= 0 AND volume < 'infinity')
) WITH (autovacuum_vacuum_insert_scale_factor = 0.02, autovacuum_analyze_scale_factor = 0.02);

-- The universe. A row that was removed stays, inactive, so that the configuration cannot add it again.
CREATE TABLE tickers (
    ticker text COLLATE "C" PRIMARY KEY CHECK (ticker ~ '^[A-Z0-9^][A-Z0-9.=^-]{0,19}$'),
    active boolean NOT NULL DEFAULT true,
    added_at timestamptz NOT NULL DEFAULT now(),
    removed_at timestamptz,
    timeframes text[] NOT NULL DEFAULT '{1d,1h}' CHECK (timeframes <@ '{1h,1d}')
);

-- Timestamps without zone are UTC, so that they read alike in every session: a daily bar is named by
-- midnight. Every run updates these rows and no index holds what it changes: the free space of a
-- page lets the update stay on it (HOT).
CREATE TABLE ticker_state (
    ticker text COLLATE "C" NOT NULL,
    timeframe text NOT NULL CHECK (timeframe IN ('1h', '1d', '1wk')),
    first_bar timestamp,
    last_bar timestamp,
    asked_from date,
    asked_through timestamp,
    rev bigint NOT NULL DEFAULT 0,
    last_success_at timestamptz,
    last_error text,
    last_error_at timestamptz,
    failures integer NOT NULL DEFAULT 0,
    PRIMARY KEY (ticker, timeframe)
) WITH (fillfactor = 70, autovacuum_vacuum_scale_factor = 0.05);

-- A reader may insert here and nowhere else. The index serves "what is still open, oldest first".
CREATE TABLE requests (
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    ticker text COLLATE "C" NOT NULL CHECK (ticker ~ '^[A-Z0-9^][A-Z0-9.=^-]{0,19}$'),
    timeframe text NOT NULL DEFAULT '1d' CHECK (timeframe IN ('1h', '1d', '1wk')),
    requested_at timestamptz NOT NULL DEFAULT now(),
    requested_by text NOT NULL DEFAULT current_user,
    status text NOT NULL DEFAULT 'open' CHECK (status IN ('open', 'done', 'failed')),
    finished_at timestamptz
);
CREATE INDEX requests_open ON requests (requested_at) WHERE status = 'open';

-- The index serves "the last runs", also of one timeframe: there are few runs.
CREATE TABLE runs (
    run text COLLATE "C" PRIMARY KEY,
    timeframe text NOT NULL CHECK (timeframe IN ('1h', '1d', '1wk')),
    status text NOT NULL
        CHECK (status IN ('running', 'ok', 'partial', 'failed', 'interrupted', 'skipped')),
    started_at timestamptz NOT NULL,
    finished_at timestamptz,
    asked text[] NOT NULL DEFAULT '{}',
    report jsonb,
    host text,
    pid integer
);
CREATE INDEX runs_started ON runs (started_at);

-- No foreign key: a run's row is there first, and checking it would cost every batch. The key serves
-- "what became of this run"; pruning goes by runs.
CREATE TABLE run_items (
    run text COLLATE "C" NOT NULL,
    ticker text COLLATE "C" NOT NULL,
    outcome text NOT NULL CHECK (
        outcome IN ('stored', 'unchanged', 'empty', 'rejected', 'failed', 'not_attempted')
    ),
    kind text,
    message text NOT NULL DEFAULT '',
    inserted integer NOT NULL DEFAULT 0,
    revised integer NOT NULL DEFAULT 0,
    at timestamptz NOT NULL,
    PRIMARY KEY (run, ticker),
    CHECK (kind IS NOT NULL OR outcome IN ('stored', 'unchanged', 'empty'))
);

CREATE TABLE api_usage (
    day date PRIMARY KEY,
    calls bigint NOT NULL DEFAULT 0,
    bytes bigint NOT NULL DEFAULT 0,
    refusals bigint NOT NULL DEFAULT 0
) WITH (fillfactor = 70);

-- A split rewrites a whole history; it is one row here, with its factor, that shows the newest bar
-- which it changed. The index serves "what was revised of this ticker, newest first".
CREATE TABLE price_revisions (
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    ticker text COLLATE "C" NOT NULL,
    timeframe text NOT NULL CHECK (timeframe IN ('1h', '1d', '1wk')),
    bar timestamp NOT NULL,
    old_open double precision NOT NULL,
    old_high double precision NOT NULL,
    old_low double precision NOT NULL,
    old_close double precision NOT NULL,
    old_volume double precision NOT NULL,
    new_open double precision NOT NULL,
    new_high double precision NOT NULL,
    new_low double precision NOT NULL,
    new_close double precision NOT NULL,
    new_volume double precision NOT NULL,
    reason text NOT NULL CHECK (reason IN ('revised', 'split')),
    factor double precision CHECK ((factor IS NOT NULL) = (reason = 'split')),
    run text COLLATE "C" NOT NULL,
    at timestamptz NOT NULL
);
CREATE INDEX price_revisions_ticker ON price_revisions (ticker, timeframe, bar);

-- One row a transaction of this program, written first: the answer to a COMMIT may be lost, and this
-- tells whether it was carried out. (pg_xact_status cannot: a crash may give a number out again.)
CREATE TABLE collector_commits (
    token uuid PRIMARY KEY,
    at timestamptz NOT NULL DEFAULT now()
);
