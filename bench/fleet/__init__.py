"""A fleet of engine replicas over a day, in virtual time: what a marketplace would need, attain and pay."""
