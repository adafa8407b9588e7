-- The demo marketplace's own records. Times are ISO 8601 in UTC, days are ISO dates, money is integer cents.
CREATE TABLE customers (
    id TEXT PRIMARY KEY,
    name TEXT NOT NULL,
    locale TEXT NOT NULL,
    tier TEXT NOT NULL CHECK (tier IN ('standard', 'plus')),
    verified INTEGER NOT NULL CHECK (verified IN (0, 1)),
    joined_at TEXT NOT NULL
) STRICT;

CREATE TABLE orders (
    id TEXT PRIMARY KEY,
    customer_id TEXT NOT NULL REFERENCES customers (id),
    seller_id TEXT NOT NULL,
    item TEXT NOT NULL,
    item_zh TEXT NOT NULL,
    category TEXT NOT NULL,
    item_cents INTEGER NOT NULL CHECK (item_cents > 0),
    shipping_cents INTEGER NOT NULL CHECK (shipping_cents >= 0),
    status TEXT NOT NULL CHECK (status IN ('unpaid', 'paid', 'packed', 'shipped', 'delivered', 'cancelled')),
    in_stock INTEGER NOT NULL CHECK (in_stock IN (0, 1)),
    ordered_at TEXT NOT NULL,
    expected_on TEXT NOT NULL,
    cancelled_at TEXT
) STRICT;
CREATE INDEX orders_by_customer ON orders (customer_id);

CREATE TABLE parcels (
    id TEXT PRIMARY KEY,
    order_id TEXT NOT NULL REFERENCES orders (id),
    kind TEXT NOT NULL CHECK (kind IN ('first', 'replacement', 'reship')),
    carrier TEXT NOT NULL,
    tracking TEXT NOT NULL,
    status TEXT NOT NULL CHECK (status IN ('announced', 'in_transit', 'delivered', 'lost')),
    expected_on TEXT NOT NULL,
    shipped_at TEXT,
    last_scan_at TEXT,
    delivered_at TEXT,
    UNIQUE (order_id, kind)
) STRICT;

CREATE TABLE payments (
    order_id TEXT PRIMARY KEY REFERENCES orders (id),
    method TEXT NOT NULL,
    paid_cents INTEGER NOT NULL CHECK (paid_cents > 0),
    paid_at TEXT NOT NULL
) STRICT;

CREATE TABLE refunds (
    id TEXT PRIMARY KEY,
    order_id TEXT NOT NULL REFERENCES payments (order_id),
    kind TEXT NOT NULL CHECK (kind IN ('partial', 'full', 'cancellation')),
    amount_cents INTEGER NOT NULL CHECK (amount_cents > 0),
    issued_at TEXT NOT NULL,
    due_on TEXT NOT NULL
) STRICT;
CREATE INDEX refunds_by_order ON refunds (order_id);

-- The last line of defence: whoever writes here, an order never gets back more than was paid for it.
CREATE TRIGGER refunds_never_above_paid BEFORE INSERT ON refunds
WHEN (SELECT coalesce(sum(amount_cents), 0) FROM refunds WHERE order_id = NEW.order_id) + NEW.amount_cents
    > (SELECT paid_cents FROM payments WHERE order_id = NEW.order_id)
BEGIN
    SELECT raise(ABORT, 'refunds above what was paid');
END;

CREATE TABLE returns (
    id TEXT PRIMARY KEY,
    order_id TEXT NOT NULL UNIQUE REFERENCES orders (id),
    opened_at TEXT NOT NULL,
    send_by TEXT NOT NULL
) STRICT;

CREATE TABLE traces (
    id TEXT PRIMARY KEY,
    order_id TEXT NOT NULL UNIQUE REFERENCES orders (id),
    result TEXT NOT NULL CHECK (result IN ('open', 'lost', 'found')),
    opened_at TEXT NOT NULL,
    answer_by TEXT NOT NULL
) STRICT;

CREATE TABLE damage_reports (
    order_id TEXT PRIMARY KEY REFERENCES orders (id),
    photos INTEGER NOT NULL CHECK (photos >= 0),
    filed_at TEXT NOT NULL
) STRICT;

CREATE TABLE coupons (
    code TEXT PRIMARY KEY,
    customer_id TEXT NOT NULL REFERENCES customers (id),
    reason TEXT NOT NULL CHECK (reason IN ('delay', 'loyalty')),
    order_id TEXT REFERENCES orders (id),
    amount_cents INTEGER NOT NULL CHECK (amount_cents > 0),
    issued_at TEXT NOT NULL,
    valid_until TEXT NOT NULL,
    used INTEGER NOT NULL CHECK (used IN (0, 1))
) STRICT;
CREATE INDEX coupons_by_customer ON coupons (customer_id);
CREATE UNIQUE INDEX coupons_one_per_late_order ON coupons (order_id) WHERE order_id IS NOT NULL;

CREATE TABLE sellers (
    id TEXT PRIMARY KEY,
    customer_id TEXT NOT NULL UNIQUE REFERENCES customers (id),
    name TEXT NOT NULL,
    legal_form TEXT NOT NULL CHECK (legal_form IN ('company', 'sole_trader', 'private')),
    category TEXT NOT NULL,
    state TEXT NOT NULL CHECK (state IN ('draft', 'in_review', 'approved', 'rejected', 'suspended')),
    identity_verified INTEGER NOT NULL CHECK (identity_verified IN (0, 1)),
    licence_until TEXT,
    deposit_due_cents INTEGER NOT NULL CHECK (deposit_due_cents >= 0),
    deposit_paid_cents INTEGER NOT NULL CHECK (deposit_paid_cents BETWEEN 0 AND deposit_due_cents),
    review_by TEXT
) STRICT;

CREATE TABLE deposit_invoices (
    id TEXT PRIMARY KEY,
    seller_id TEXT NOT NULL UNIQUE REFERENCES sellers (id),
    amount_cents INTEGER NOT NULL CHECK (amount_cents > 0),
    issued_at TEXT NOT NULL,
    pay_by TEXT NOT NULL
) STRICT;

-- What was done under which idempotency key: written in the same transaction as the effect itself.
CREATE TABLE receipts (
    key TEXT PRIMARY KEY,
    call TEXT NOT NULL,
    receipt TEXT NOT NULL,
    at TEXT NOT NULL
) STRICT;
